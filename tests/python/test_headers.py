"""The declarations of the package, and the public headers as another parser (cffi's) reads them."""
import ctypes
import os
import re
import shutil
import subprocess

import pytest

import aios
from aios import _c
from aios._library import lib

cffi = pytest.importorskip("cffi")
SOURCE = os.environ.get("SOURCE", os.path.join(os.path.dirname(__file__), "..", ".."))
CC = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="session")
def declarations():
    """aios.h and all that it includes, preprocessed: what a user of cffi gives to cdef."""
    include = os.path.join(SOURCE, "include")
    done = subprocess.run([CC, "-E", "-P", "-D__attribute__(x)=", "-I", include, os.path.join(include, "aios", "aios.h")], encoding="utf-8",
                          capture_output=True, check=True)
    text = done.stdout[done.stdout.index("typedef int32_t aios_status;"):] if "typedef int32_t aios_status;" in done.stdout else ""
    before = done.stdout[: done.stdout.index("typedef int32_t aios_status;")]
    return "".join(re.findall(r"const char \*aios_version\(void\);", before)) + text


@pytest.fixture(scope="session")
def ffi(declarations):
    made = cffi.FFI()
    made.cdef(declarations)
    return made


@pytest.fixture(scope="session")
def opened(ffi):
    return ffi.dlopen(lib.dll._name)


def test_cffi_works_on_the_same_headers(ffi, opened):
    assert ffi.string(opened.aios_version()).decode() == aios.version()
    context, found = ffi.new("aios_context **"), ffi.new("aios_device_list **")
    assert opened.aios_context_create(ffi.NULL, context) == opened.AIOS_OK
    assert opened.aios_device_list_create(context[0], found) == opened.AIOS_OK
    specs = [ffi.string(opened.aios_device_list_get(found[0], i).spec).decode() for i in range(opened.aios_device_list_count(found[0]))]
    assert sorted(specs) == sorted(device.spec for device in aios.devices())
    opened.aios_device_list_destroy(found[0])
    assert opened.aios_device_open(context[0], b"gpu:77", ffi.new("aios_device **")) == opened.AIOS_NOT_FOUND
    assert b"gpu:77" in ffi.string(opened.aios_error_message())
    opened.aios_context_destroy(context[0])


def test_every_function_is_declared(declarations):
    assert set(re.findall(r"\b(aios_\w+)\([^;{}]*\);", re.sub(r"\(\*aios_\w+\)", "", declarations))) == set(_c.PROTOTYPES)
    listed = os.path.join(SOURCE, "tests", "abi", "symbols.txt")
    with open(listed, encoding="ascii") as f:
        assert set(f.read().split()) == set(_c.PROTOTYPES)


def test_every_operation_of_the_graph_is_a_method():
    with open(aios.graph.__file__, encoding="utf-8") as f:
        source = f.read()
    missing = [name for name in _c.PROTOTYPES if name.startswith("aios_graph_") and f"lib.{name}(" not in source and name not in
               ("aios_graph_create", "aios_graph_destroy")]
    assert not missing, "bindings/python/aios/graph.py has no method for these"


def kind(ffi, type_):
    """What a type is for a call, in words that both parsers have."""
    if type_.kind == "primitive":
        number = "float" if type_.cname in ("float", "double") else "char" if type_.cname == "char" else \
            "unsigned" if int(ffi.cast(type_, -1)) > 0 else "signed"
        return f"{number} {ffi.sizeof(type_)}"
    if type_.kind == "enum":
        return "unsigned 4"
    return type_.kind if type_.kind in ("void", "struct") else "pointer"


def kind_here(type_):
    if type_ is None:
        return "void"
    if issubclass(type_, _c.STATUS):
        return "signed 4"
    if isinstance(type_, type(ctypes.CFUNCTYPE(None))) or issubclass(type_, (ctypes._Pointer, ctypes.c_char_p, ctypes.c_void_p)):
        return "pointer"
    if issubclass(type_, ctypes.Structure):
        return "struct"
    code = type_._type_
    return f"{'float' if code in 'fd' else 'char' if code == 'c' else 'unsigned' if code.isupper() else 'signed'} {ctypes.sizeof(type_)}"


def test_every_prototype_is_the_headers(ffi, opened):
    for name, (result, parameters, names) in _c.PROTOTYPES.items():
        declared = ffi.typeof(getattr(opened, name))
        assert kind_here(result) == kind(ffi, declared.result), name
        assert [kind_here(parameter) for parameter in parameters] == [kind(ffi, argument) for argument in declared.args], name


def test_every_structure_lies_in_memory_as_the_headers_say(ffi):
    compared = 0
    for name in ffi.list_types()[0]:
        declared = ffi.typeof(name)
        if declared.kind != "struct" or declared.fields is None:
            continue
        ours = getattr(_c, name)
        assert ctypes.sizeof(ours) == ffi.sizeof(declared), name
        assert [field for field, *_ in ours._fields_] == [field for field, _ in declared.fields], name
        for field, about in declared.fields:
            assert getattr(ours, field).offset == about.offset and getattr(ours, field).size == ffi.sizeof(about.type), (name, field)
        compared += 1
    assert compared > 30


def test_every_enumerator_is_the_headers(ffi, opened, declarations):
    names = re.findall(r"\b(AIOS_\w+)\s*=", declarations)
    assert len(names) > 60
    for name in names:
        assert getattr(_c, name) == getattr(opened, name), name
