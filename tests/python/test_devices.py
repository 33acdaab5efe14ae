"""Devices of three vendors, simulated (aios-sim --devices cuda:2,hip:1,xpu:1)."""
import pytest

import aios
from aios import _dlpack

numpy = pytest.importorskip("numpy")
SPECS = ["cuda:0", "cuda:1", "xpu:0", "hip:0"]


def test_devices_of_all_vendors_are_one_list():
    found = aios.devices()
    assert [device.spec for device in found.gpus] == SPECS and [device.word for device in found] == ["gpu:0", "gpu:1", "gpu:2", "gpu:3", "cpu"]
    assert [device.vendor for device in found.gpus] == ["NVIDIA", "NVIDIA", "Intel", "AMD"]
    assert sum(device.weight for device in found) == pytest.approx(1) and found[-1].weight == 0
    assert all(device.pci_address and device.uuid and device.memory_free <= device.memory_total for device in found.gpus)


@pytest.mark.parametrize("selected, devices, strategy", [([0], [0], "auto"), (["gpu:0", "gpu:1"], [0, 1], "ddp"), (["cpu"], "auto", "auto"),
                                                         (["gpu:0", "cpu"], [0], "auto"), (["gpu:0", "hip:0"], [0, 3], "parallel_independent")])
def test_selections_resolve_as_specified(selected, devices, strategy):
    found = aios.resolve(selected, batch_size=32)
    assert (found.devices, found.strategy, found.accelerator) == (devices, strategy, "cpu" if selected == ["cpu"] else "gpu")
    assert ("mixed_device_selection" in found.warnings) == (selected == ["gpu:0", "cpu"])


def test_an_ddp_selection_says_its_batch():
    found = aios.resolve(["gpu:0", "gpu:1"], batch_size=32)
    assert found.effective_batch_size == 64 and "Effective batch size: 64 (32 × 2 GPUs)" in found.notes and found.learning_rate_scale == 2


@pytest.mark.parametrize("spec, code", [("cuda:1", (_dlpack.CUDA, 1)), ("hip:0", (_dlpack.ROCM, 0)), ("xpu:0", (_dlpack.ONEAPI, 0)), ("cpu", (_dlpack.CPU, 0))])
@pytest.mark.parametrize("version", [None, (1, 0)])
def test_capsules_name_the_device(spec, code, version):
    made = aios.GPUDevice(spec).array(numpy.arange(12, dtype="f4").reshape(3, 4))
    assert made.__dlpack_device__() == code
    taken = _dlpack.take(made.__dlpack__(stream=1 if spec != "cpu" else None, max_version=version))
    assert (taken.data, taken.dtype, taken.shape, taken.device) == (made.pointer, "f32", (3, 4), code)


def test_device_memory_goes_in_and_out_without_a_copy():
    device = aios.GPUDevice("cuda:1")
    made = device.array([1.0, 2.0, 3.0])
    again = aios.from_dlpack(made, device=device)  # another library's tensor, as far as it knows
    assert again.pointer == made.pointer and again.device is device and again.tolist() == [1, 2, 3]
    assert aios.from_dlpack(made).device.spec == "cuda:1"
    with pytest.raises(ValueError, match="on cuda:1, not on cuda:0"):
        aios.from_dlpack(made, device=aios.GPUDevice("cuda:0"))
    if not device.host_accessible:
        with pytest.raises(ValueError, match="cuda:1, which the CPU can't reach"):
            numpy.asarray(made)
        assert made.numpy().tolist() == [1, 2, 3]
    assert made.to("hip:0").to("cpu").tolist() == [1, 2, 3]


def test_telemetry_is_read():
    now = aios.GPUDevice("cuda:0").telemetry()
    assert 0 <= now.utilisation <= 100 and 20 < now.temperature < 110 and 0 < now.power <= now.power_limit


def test_weights_on_a_gpu_are_shared():
    g = aios.Graph()
    g.output("y", g.linear(g.input("x", [1, 2], "f32"), g.parameter("w", [1, 2])))
    p = aios.Parameters("hip:0", g.finish(), training=False)
    p.write("w", [[2.0, 3.0]])
    assert p["w"].__dlpack_device__() == (_dlpack.ROCM, 0)
    assert aios.from_dlpack(p["w"], device=p.device).tolist() == [[2, 3]]
    plan = aios.Plan(g, p)
    plan.run(x=[[10.0, 100.0]])
    assert plan.read("y").tolist() == [[320]]


def test_an_evaluation_is_shared_by_devices_of_all_vendors(tiny):
    trainer = aios.Trainer(**{**tiny, "device": "cpu"})
    trainer.run()
    options = dict(dataset_file=tiny["dataset_file"], cache_dir=tiny["cache_dir"], max_seq_len=16, eval_batches=12)
    alone = aios.load(trainer.folder).evaluate(**options, device="cpu")
    shared = aios.load(trainer.folder).evaluate(**options, devices=SPECS)
    assert (shared.tokens, shared.samples, shared.devices, shared.devices_failed) == (alone.tokens, alone.samples, 4, 0)
    assert shared.loss == pytest.approx(alone.loss, rel=1e-5)  # other sums of float32 on other devices
    assert {run.device for run in shared.runs} == set(SPECS) and sum(run.tokens for run in shared.runs) == shared.tokens


def test_one_model_trains_on_all_of_them(tiny):
    options = {**tiny, "device": None, "steps": 6}
    together = aios.Trainer(**options, devices=[*SPECS, "cpu"], keep_cpu=True, strategy="ddp")
    start = next(event for event in [*together] if event.name == "run_start")
    assert start.device == ",".join([*SPECS, "cpu:0"]) and together.result.step == 6
    apart = aios.Trainer(**{**options, "save_dir": f"{options['save_dir']}-apart"}, devices=["cuda:0", "hip:0"], dataset_chunk_size=20)
    seen = [*apart]
    assert {event.device for event in seen if event.name == "step"} <= {"cuda:0", "hip:0"} and any(event.name == "merge" for event in seen)
