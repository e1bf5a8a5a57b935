"""Networks that PyTorch trains; it is no dependency."""

from dataclasses import dataclass
from typing import ClassVar

from recon.cells.foreign import Arrays, Fit, Flat, Foreign, Targets, look_for


@dataclass(frozen=True)
class Torch(Foreign):
    """PyTorch's default layers and initialisation, SGD with momentum 0.9, full batch, to a loss of 1e-4.

    Attributes:
      rate: learning rate; the default is that of `recon.cells.foreign.ScikitLearn`, of whose loss PyTorch's is twice.
    """

    suffix: ClassVar[str] = ".safetensors"

    width: int
    rate: float = 1e-3

    def check(self) -> None:
        """Look for PyTorch."""
        look_for("torch", "PyTorch", "torch==2.13.0")

    def fit(self, x: Flat, y: Targets, seed: int) -> Fit:
        """Train it."""
        import torch
        from torch import nn

        torch.manual_seed(seed)
        torch.set_num_threads(1)
        width = self.width
        model = nn.Sequential(
            nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

        def arrays() -> Arrays:
            return {name: value.numpy().copy() for name, value in model.state_dict().items()}

        before, optimiser = arrays(), torch.optim.SGD(model.parameters(), lr=self.rate, momentum=0.9)
        inputs, targets, loss = torch.from_numpy(x), torch.from_numpy(y), float("inf")
        for _ in range(5000):
            optimiser.zero_grad()
            value = nn.functional.mse_loss(model(inputs), targets)
            value.backward()
            optimiser.step()
            loss = value.item()
            if loss < 1e-4:
                break
        rule = f"PyTorch, SGD, momentum 0.9, rate {self.rate:g}, full batch, default initialisation"
        return Fit(before, arrays(), rule, loss)
