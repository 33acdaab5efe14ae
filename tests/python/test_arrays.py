"""Arrays on devices: what is shared without a copy, and how it ends."""
import array
import ctypes
import gc
import weakref

import pytest

import aios
from aios import _dlpack

numpy = pytest.importorskip("numpy")


def address(made):
    return made.__array_interface__["data"][0]


def test_numpy_and_dlpack_see_the_same_memory():
    device = aios.GPUDevice("cpu")
    made = device.array(numpy.arange(6, dtype="f4").reshape(2, 3))
    views = [numpy.asarray(made), made.numpy(), numpy.from_dlpack(made)]
    assert {address(view) for view in views} == {made.pointer} and views[2].tolist() == [[0, 1, 2], [3, 4, 5]]
    views[0][1, 2] = 9
    assert made.tolist() == [[0, 1, 2], [3, 4, 9]] and views[2][1, 2] == 9
    assert (made.shape, made.dtype, len(made), made.nbytes) == ((2, 3), "f32", 2, 24)


def test_memory_lives_as_long_as_somebody_looks_at_it():
    device = aios.GPUDevice("cpu")
    before = device.memory_used()[0]
    view = numpy.from_dlpack(device.array([1.0, 2.0]))
    gc.collect()
    assert device.memory_used()[0] > before and view.tolist() == [1, 2]
    del view
    gc.collect()
    assert device.memory_used()[0] == before and not _dlpack._exported


def test_a_capsule_that_nobody_takes_gives_its_memory_back():
    made = aios.GPUDevice("cpu").array([1.0])
    for version in (None, (1, 0), (1, 3)):
        capsule = made.__dlpack__(max_version=version)
        assert len(_dlpack._exported) == 1
        del capsule
        assert not _dlpack._exported


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
def test_from_dlpack_is_no_copy_and_gives_back(dtype):
    source = numpy.arange(4).astype(dtype)
    made = aios.from_dlpack(source)
    assert made.pointer == address(source) and made.tolist() == [0, 1, 2, 3]
    assert numpy.asarray(made).dtype == source.dtype
    gone = weakref.ref(source)
    del source
    assert gone() is not None
    del made
    gc.collect()
    assert gone() is None


class Versioned:
    """A producer of DLPack 1.0, read-only where asked for."""

    def __init__(self, made, read_only=False):
        self.made, self.read_only = made, read_only

    def __dlpack_device__(self):
        return self.made.__dlpack_device__()

    def __dlpack__(self, *, stream=None, max_version=None):
        assert max_version == (1, 0)
        return _dlpack.export(self.made, self.made.pointer, self.made.dtype, self.made.shape, self.__dlpack_device__(), True, self.read_only)


def test_versioned_capsules_go_in_and_out():
    made = aios.GPUDevice("cpu").array([1.0, 2.0, 3.0])
    again = aios.from_dlpack(Versioned(made))
    assert again.pointer == made.pointer and not again.read_only
    fixed = aios.from_dlpack(Versioned(made, read_only=True))
    assert fixed.read_only and not numpy.asarray(fixed).flags.writeable
    with pytest.raises(ValueError, match="may not be written"):
        fixed.copy_from([0.0, 0.0, 0.0])
    with pytest.raises(BufferError, match="DLPack 1.0"):
        fixed.__dlpack__()
    assert aios.from_dlpack(fixed).read_only
    used = fixed.__dlpack__(max_version=(1, 0))
    _dlpack.take(used)
    with pytest.raises(ValueError, match="taken already"):
        _dlpack.take(used)


def test_pytorch_shares_memory_both_ways():
    torch = pytest.importorskip("torch")
    made = aios.GPUDevice("cpu").array([[1.0, 2.0], [3.0, 4.0]])
    tensor = torch.from_dlpack(made)
    tensor.add_(1)
    assert tensor.data_ptr() == made.pointer and made.tolist() == [[2, 3], [4, 5]]
    back = aios.from_dlpack(torch.ones(2, 2, dtype=torch.bfloat16))
    assert back.dtype == "bf16" and back.shape == (2, 2)
    with pytest.raises(TypeError, match="64 bits"):
        aios.from_dlpack(torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="contiguous"):
        aios.from_dlpack(torch.ones(4, 4).t()[1:])


def test_what_cannot_be_shared_says_why():
    device = aios.GPUDevice("cpu")
    made = device.empty([3], "bf16")
    with pytest.raises(AttributeError, match="numpy has no bf16"):
        made.__array_interface__
    with pytest.raises(BufferError, match="copy"):
        made.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="cpu:0"):
        made.__dlpack__(dl_device=(_dlpack.CUDA, 0))
    with pytest.raises(ValueError, match="f32, bf16"):
        device.empty([3], "float32")
    with pytest.raises(TypeError, match='format "d"'):
        device.array(numpy.zeros(3))
    with pytest.raises(ValueError, match="12 bytes of f32 do not fit an array of 6 bytes of bf16"):
        made.copy_from(numpy.zeros(3, "f4"))
    with pytest.raises(ValueError, match="contiguous"):
        device.array(numpy.zeros((4, 4), "f4")[:, 1:])


def test_buffers_lists_and_bytes_go_in():
    device = aios.GPUDevice("cpu")
    assert device.array(array.array("f", [1, 2])).tolist() == [1, 2]
    assert device.array(b"\x01\x02").tolist() == [1, 2]
    assert device.array([[1, 2], [3, 4]], "i32").tolist() == [[1, 2], [3, 4]]
    assert device.array(memoryview(bytearray(b"ab"))).dtype == "u8"
    with pytest.raises(ValueError, match="differ"):
        device.array([[1, 2], [3]])
    with pytest.raises(TypeError, match="not int"):
        device.array(7)


def test_a_device_may_be_closed_before_its_arrays():
    device = aios.GPUDevice("cpu")
    made = device.array([1.0])
    device.close()
    with pytest.raises(aios.WrongStateError):
        made.tolist()
    del made
    gc.collect()


def test_arrays_move_between_devices_and_know_theirs():
    made = aios.GPUDevice("cpu").array(numpy.arange(3, dtype="i4"))
    there = made.to("cpu")
    assert there.pointer != made.pointer and there.tolist() == [0, 1, 2]
    free, total = there.device.get_memory_info()
    assert 0 < free <= total == there.device.memory_total
    assert there.device.telemetry() == (None, None, None, None)
    with there.device.create_stream() as stream:
        stream.synchronize()
    there.device.set_device()


def test_weights_are_shared_while_they_train(tiny):
    trainer = aios.Trainer(**tiny)
    weights = numpy.from_dlpack(trainer.parameters["wte.weight"])
    before = weights.copy()
    trainer.run()
    assert (weights != before).any()
    assert (weights == trainer.parameters.read("wte.weight")).all()
    after = weights.copy()
    trainer.close()
    with pytest.raises(aios.WrongStateError):
        trainer.parameters
    gc.collect()
    assert (weights == after).all()  # the memory is there as long as it is looked at


def test_a_closed_device_is_closed_with_its_last_array():
    device = aios.GPUDevice("cpu")
    view = numpy.asarray(device.array([5.0, 6.0]))
    with device:
        pass
    gc.collect()
    assert view.tolist() == [5, 6] and device.closed


def test_the_dlpack_structures_are_laid_out_as_c_does():
    assert ctypes.sizeof(_dlpack._Tensor) == 48 and ctypes.sizeof(_dlpack._Managed) == 64 and ctypes.sizeof(_dlpack._ManagedVersioned) == 80
    assert _dlpack._ManagedVersioned.flags.offset == 24 and _dlpack._ManagedVersioned.tensor.offset == 32


@pytest.mark.parametrize("dtype, kept", [("f32", "<f4"), ("f16", "<f2"), ("i32", "<i4"), ("u8", "|u1")])
def test_a_list_becomes_the_type_that_is_asked_for(dtype, kept):
    made = aios.GPUDevice("cpu").array([[1, 2], [3, 4]], dtype=dtype)
    assert (made.dtype, made.shape) == (dtype, (2, 2)) and numpy.asarray(made).dtype == kept and made.tolist() == [[1, 2], [3, 4]]


def test_a_list_becomes_bf16_rounded_to_the_nearest():
    made = aios.GPUDevice("cpu").array([1.0, -2.5, 1.00390625, 1.01171875, 3.5e38, float("nan")], dtype="bf16")
    assert made.dtype == "bf16" and [f"{bits:04x}" for bits in made.memory()][:5] == ["3f80", "c020", "3f80", "3f82", "7f80"]
    assert made.memory()[5] & 0x7FFF > 0x7F80


def test_what_dlpack_can_not_share_is_told():
    with pytest.raises(TypeError, match="not list: GPUDevice.array"):
        aios.from_dlpack([1, 2])


def test_a_type_that_is_none_and_numbers_that_do_not_fit_are_refused():
    device = aios.GPUDevice("cpu")
    with pytest.raises(ValueError, match='"float32" is no type: f32, bf16'):
        device.array([1, 2], dtype="float32")
    for numbers, dtype in (([256], "u8"), ([2**31], "i32")):
        with pytest.raises(ValueError, match=f"a number that {dtype} has not"):
            device.array(numbers, dtype=dtype)
