"""The plan of the paper's grid: its page is that of the records, and its arithmetic is right."""

import importlib.util
import itertools
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "scripts" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scaling"]


def test_a_page_with_another_number_is_found_out_and_put_right(tmp_path):
    script = [sys.executable, ROOT / "scripts" / "pages.py", "scaling", "--root", tmp_path]
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "scaling.md"
    text = (ROOT / "docs" / "scaling.md").read_text()
    page.write_text(text.replace("| fig2 ", "| fig0 "))
    assert page.read_text() != text
    assert subprocess.run([*script, "--check"], capture_output=True).returncode == 1
    subprocess.run(script, check=True)
    assert page.read_text() == text


@pytest.mark.parametrize("machines", [1, 2, 3])
def test_packing_is_within_its_bound_of_the_best(scaling, rng, machines):
    for _ in range(20):
        seconds = rng.exponential(size=6)
        best = min(
            max(sum(s for s, at in zip(seconds, places, strict=True) if at == m) for m in range(machines))
            for places in itertools.product(range(machines), repeat=len(seconds))
        )
        made = scaling.packed(seconds, machines)
        assert best * (1 - 1e-12) <= made <= best * (4 / 3 - 1 / (3 * machines)) * (1 + 1e-12)  # Graham 1969


@pytest.mark.parametrize("task", ["mnist_odd_even", "mnist_10way", "cifar10_animal_vehicle", "tiny_imagenet_5way"])
@pytest.mark.parametrize("architecture", ["MLP", "CNN", "patches"])
def test_weights_are_those_of_the_network(scaling, task, architecture):
    """Against the multiplications that the arrays of the network and its layers' resolutions imply."""
    import jax

    from recon.networks import MLP
    from recon.networks.conv import CNN

    side, channels = {"mnist": (28, 1), "cifar10": (32, 3), "tiny": (64, 3)}[task.split("_")[0]]
    network = {"MLP": MLP((8, 4)), "CNN": CNN((8, 4)), "patches": CNN((8,), patch=4)}[architecture]
    cell = {"task": task}
    settings = {"architecture": type(network).__name__, **vars(network)}
    outputs = scaling.TASKS[task][2]
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), (side, side, channels)))
    kernels = {name: layer["kernel"] for name, layer in params.items()}
    dense = [k for name, k in kernels.items() if name.startswith("Dense")]
    if architecture == "MLP":
        wanted = sum(k.size for k in dense[:-1]) + dense[-1].shape[0] * outputs
    else:
        shrink = 4 if architecture == "patches" else 2
        sides = [side // shrink ** (i + 1) for i in range(len(kernels) - 1)]
        wanted = sum(s * s * kernels[f"Conv_{i}"].size for i, s in enumerate(sides))
    assert scaling.weights(settings, cell) == pytest.approx(wanted)
