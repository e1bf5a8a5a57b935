"""LoRA adapters as PEFT saves them: merged into their base, and nothing said of images that they do not show."""

import json
import re

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import recon
from recon import ReconError
from recon.weights.adapters import Config, config_of, merged
from tests.audit.descent import applied, descended, digits, plain

R, ALPHA = 4, 16
CONFIG = {
    "peft_type": "LORA",
    "r": R,
    "lora_alpha": ALPHA,
    "target_modules": ["fc1"],
    "bias": "none",
    "task_type": None,
}


@pytest.fixture(scope="module")
def base():
    return plain(np.random.default_rng(0))


@pytest.fixture(scope="module")
def halves(base):
    """Both matrices after training, by PEFT's names."""
    x, y, *_ = digits()

    def model(p, x):
        z = applied(base, "fc1", x) + ALPHA / R * (x @ p["A"].T) @ p["B"].T
        return applied(base, "fc2", jax.nn.relu(z))

    start = {"A": np.random.default_rng(1).normal(0, 784**-0.5, (R, 784)), "B": np.zeros((256, R))}
    start = {name: a.astype(np.float32) for name, a in start.items()}
    after, _ = descended(model, start, x, y, eta=5e-3)
    assert all(np.any(after[half] != start[half]) for half in "AB")
    return {f"base_model.model.fc1.lora_{half}.weight": np.ascontiguousarray(after[half]) for half in "AB"}


def saved(folder, arrays, **changes):
    """An adapter's folder."""
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    return folder


def test_base_and_adapter_are_audited_and_nothing_is_said_of_images(base, halves, tmp_path, command):
    x, _, others, mean = digits()
    folder = saved(tmp_path / "adapter", halves)
    found = recon.audit(base, adapter=folder, data=x, held_out=others, mean=mean, progress=False)
    assert (found.n, found.certified, found.vouched, found.membership) == (None, 0, 0, None)
    assert f"an adapter made the change of fc1.weight, of rank {R} whatever the number of images" in found.verdict
    np.savez(tmp_path / "base.npz", **base)
    done = command("audit", "--init", "base.npz", "--adapter", "adapter/adapter_model.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "an adapter made the change of fc1.weight" in " ".join(done.stdout.split())
    report = (tmp_path / ".recon/audit/report.md").read_text()
    assert "the base model's weights and the adapter that was trained for it" in report
    assert re.search(r"\| attack +\| none: no attack applies +\|", report)
    assert re.search(r"\| attacked +\| the weights' change as the adapter makes it +\|", report)
    # Approximate attacks may be asked for, and certify nothing.
    other = recon.audit(base, adapter=folder, attack="ntk-fast", m=4, data=x, seconds=1.0, progress=False)
    assert (other.n, other.vouched, other.attacks) == (None, 0, ("ntk-fast",))


def test_a_first_layer_that_was_trained_whole_beside_adapters_gives_its_images(base, tmp_path):
    """PEFT's modules_to_save: the adapter's own layer is a later one, whose rank is none of the first layer's."""
    x, y, others, mean = digits()

    def model(p, x):
        h = jax.nn.relu(applied(p, "fc1", x))
        return applied(base, "fc2", h) + ALPHA / R * (h @ p["A"].T) @ p["B"].T

    half = np.random.default_rng(1).normal(0, 256**-0.5, (R, 256)).astype(np.float32)
    start = {name: base[name] for name in ("fc1.weight", "fc1.bias")} | {"A": half, "B": np.zeros((1, R), np.float32)}
    after, _ = descended(model, start, x, y)
    arrays = {f"base_model.model.fc1.{word}": after[f"fc1.{word}"] for word in ("weight", "bias")}
    arrays |= {f"base_model.model.fc2.lora_{half}.weight": np.ascontiguousarray(after[half]) for half in "AB"}
    found = recon.audit(base, adapter=saved(tmp_path / "adapter", arrays), data=x, held_out=others, mean=mean)
    assert found.n == found.certified == found.train.within == len(x)
    assert set(found.membership.answers) == {"member"}
    assert f"An attacker who has the base model and its adapter gets all {len(x)}" in found.verdict


def test_an_adapter_that_was_merged_elsewhere_is_not_taken_for_images(base, halves):
    x, _, others, _ = digits()
    after, _ = merged(base, halves, Config("LORA", R, ALPHA), "adapter")
    after = {name: a.astype(np.float32) for name, a in after.items()}
    found = recon.audit(base, after, data=x, held_out=others, attack="exact", seconds=3.0, progress=False)
    assert found.vouched == 0
    assert set(found.membership.answers) == {"no answer"}
    assert "no bias changed, as where a LoRA adapter was merged" in found.verdict


def test_products_count_as_the_configuration_tells(base, halves, tmp_path):
    a, b = (halves[f"base_model.model.fc1.lora_{half}.weight"].astype(np.float64) for half in "AB")
    for changes, scale in (
        ({}, ALPHA / R),
        ({"use_rslora": True}, ALPHA / R**0.5),
        ({"alpha_pattern": {"fc1": 2.0}, "rank_pattern": {"fc1": R}, "r": 8}, 2.0 / R),
        ({"alpha_pattern": {"c1": 2.0}}, ALPHA / R),
    ):
        folder = saved(tmp_path / "adapter", halves, **changes)
        made, ranks = merged(base, halves, config_of(folder), "adapter")
        np.testing.assert_allclose(made["fc1.weight"], base["fc1.weight"] + scale * b @ a, rtol=1e-12)
        assert ranks == {"fc1.weight": R}
        assert all(made[name] is base[name] for name in base if name != "fc1.weight")
    turned = {**base, "fc1.weight": base["fc1.weight"].T}
    made, _ = merged(turned, halves, Config("LORA", R, ALPHA, fan_in_fan_out=True), "adapter")
    np.testing.assert_allclose(made["fc1.weight"], base["fc1.weight"].T + ALPHA / R * (b @ a).T, rtol=1e-12)
    # Layers trained whole beside it.
    head = {
        "base_model.model.fc2.modules_to_save.weight": 2 * base["fc2.weight"],
        "base_model.model.fc1.bias": base["fc1.bias"] + 1,
    }
    made, _ = merged(base, halves | head, Config("LORA", R, ALPHA), "adapter")
    np.testing.assert_array_equal(made["fc2.weight"], 2 * base["fc2.weight"])
    np.testing.assert_array_equal(made["fc1.bias"], base["fc1.bias"] + 1)


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({}, {"peft_type": "LOHA"}, "is of LOHA, not of plain LoRA: save the model with"),
        ({}, {"use_dora": True}, "is of DoRA, not of plain LoRA"),
        ({}, {"r": 0}, "is no configuration of PEFT's"),
        ({}, {"lora_alpha": "16"}, "is no configuration of PEFT's"),
        (
            {"base_model.model.fc9.lora_A.weight": np.ones((4, 9), np.float32)},
            {},
            "fc9.weight, which the base model does",
        ),
        ({"base_model.model.fc2.lora_A.weight": np.ones((4, 9), np.float32)}, {}, "does not fit fc2.weight of shape"),
        ({"base_model.model.fc1.lora_A.weight": np.array(1, np.float32)}, {}, "does not fit fc1.weight of shape"),
        (
            {
                "base_model.model.fc1.lora_A.weight": np.ones((0, 784), np.float32),
                "base_model.model.fc1.lora_B.weight": np.ones((256, 0), np.float32),
            },
            {},
            "does not fit fc1.weight of shape",
        ),
        (
            {"base_model.model.fc1.lora_magnitude_vector": np.ones(256, np.float32)},
            {},
            "is no part of LoRA for this base",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused(arrays, changes, message, base, halves, tmp_path):
    folder = saved(tmp_path / "adapter", halves | arrays, **changes)
    with pytest.raises(ReconError, match=message):
        recon.audit(base, adapter=folder, progress=False)


def test_an_adapter_is_refused_without_its_base_or_its_configuration(base, halves, tmp_path):
    folder = saved(tmp_path / "adapter", halves)
    with pytest.raises(ReconError, match="give the base model by --init and one of PEFT's LoRA by --adapter"):
        recon.audit(base, folder, progress=False)
    with pytest.raises(ReconError, match="holds no LoRA adapter"):
        recon.audit(base, adapter=saved(tmp_path / "whole", base), progress=False)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(ReconError, match=r"adapter_config.json is missing, which tells what the adapter"):
        recon.audit(base, adapter=folder, progress=False)
