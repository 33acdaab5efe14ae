"""The tag of the wheel: any Python 3, one kind of machine."""
import os
import sysconfig

from setuptools import Distribution, setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel


class Wheel(bdist_wheel):
    """The libraries in it are called through ctypes, so the Python does not matter, but the system does: manylinux_2_36 for what was built
    with glibc 2.36."""

    def get_tag(self):
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        libc = os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") and system.startswith("linux_") else None
        if libc and libc.startswith("glibc "):
            system = system.replace("linux_", "manylinux_" + "_".join(libc.split()[1].split(".")[:2]) + "_", 1)
        return "py3", "none", system


class Native(Distribution):
    def has_ext_modules(self):
        return True


setup(cmdclass={"bdist_wheel": Wheel}, distclass=Native)
