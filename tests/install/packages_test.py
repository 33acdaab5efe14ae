#!/usr/bin/env python3
"""The Debian packages: made by cpack, installed by dpkg into a root that has what they depend on and nothing else, used there, removed.

    packages_test.py BUILD SOURCE WORK VERSION

The root is made of the files of installed packages, so no network is needed; to install and to go there takes root's rights.  Where they
are missing the packages are only made and looked at, and 77 (skipped) is returned."""
import glob
import os
import re
import shutil
import subprocess
import sys

BUILD, SOURCE, WORK, VERSION = sys.argv[1:5]
ROOT = os.path.join(WORK, "packages-root")
DEBS = os.path.join(WORK, "packages")
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin") or "chroot"
ALWAYS = ["libaios0", "libaios-dev", "aios-tools"]


def fail(text):
    sys.exit("FAILED: " + text)


def run(*command, **how):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)
    if result.returncode:
        fail("%s: %s" % (" ".join(command), result.stdout.decode(errors="replace")[-3000:]))
    return result.stdout.decode(errors="replace")


def field(deb, name):
    return run("dpkg-deb", "-f", deb, name).strip()


def make():
    """{package: file}"""
    shutil.rmtree(DEBS, ignore_errors=True)
    run("cpack", "-G", "DEB", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", DEBS, "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip")
    debs = {field(deb, "Package"): deb for deb in glob.glob(os.path.join(DEBS, "*.deb"))}
    wanted = set(ALWAYS)
    for name in glob.glob(os.path.join(BUILD, "lib", "aios", "libaios-*.so")):
        wanted.add(os.path.basename(name)[:-3])
    if os.path.isdir(os.path.join(BUILD, "python", "aios")):
        wanted.add("python3-aios")
    if not wanted <= set(debs):
        fail("no package %s: there are %s" % (", ".join(wanted - set(debs)), ", ".join(sorted(debs))))
    return debs


def look(debs):
    """What a package says of itself, and what is in it."""
    owners = {}
    for package, deb in debs.items():
        if field(deb, "Version") != VERSION + "-1":
            fail("%s has version %s" % (package, field(deb, "Version")))
        if package != "libaios0" and "libaios0 (= %s-1)" % VERSION not in field(deb, "Depends"):
            fail("%s depends on %s: libaios0 of the same version must be there" % (package, field(deb, "Depends")))
        summary = field(deb, "Description").splitlines()
        if len(summary) < 3 or len(summary[0]) > 80 or not summary[0].startswith("train"):
            fail("the description of %s: %s" % (package, summary))
        names = [line.split(None, 5)[5].split(" -> ")[0] for line in run("dpkg-deb", "-c", deb).splitlines() if not line.startswith("d")]
        for name in names:
            if name in owners:
                fail("%s is in %s and in %s" % (name, package, owners[name]))
            owners[name] = package
        for name in names:
            manual = name.replace("/bin/", "/share/man/man1/") + ".1.gz"
            if name.startswith("./usr/bin/") and manual not in names:
                fail("%s has %s and no %s" % (package, name, manual))
        for name in ("copyright", "changelog.Debian.gz"):
            if "./usr/share/doc/%s/%s" % (package, name) not in names:
                fail("%s has no %s" % (package, name))
    depends = field(debs["libaios0"], "Depends")
    for library in ("libc6", "libjansson4", "libsqlite3-0", "libpcre2-8-0", "zlib1g"):
        if library not in depends:
            fail("libaios0 depends on %s: %s is missing" % (depends, library))
    if re.search(r"cuda|hip|level-zero|libze|gloo", depends):
        fail("libaios0 depends on %s: nothing of a vendor's" % depends)


def closure(debs):
    """The installed packages that these need, and the ones that every Debian has for their scripts."""
    found, todo = set(), ["dash", "libc-bin", "coreutils"]
    for deb in debs.values():
        todo += names(field(deb, "Depends"))
    status = {}
    for entry in run("dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Pre-Depends}, ${Depends}\t${Provides}\n").splitlines():
        package, state, needs, provides = entry.split("\t")
        if state == "installed":
            for name in [package] + names(provides):
                status.setdefault(name, (package, needs))
    while todo:
        name = todo.pop()
        if name in debs or name not in status or status[name][0] in found:
            continue
        found.add(status[name][0])
        todo += names(status[name][1])
    return sorted(found)


def names(depends):
    """The first of each choice."""
    return [re.match(r"[a-z0-9.+-]+", choice.strip()).group() for choice in depends.split(",") if choice.strip()]


def build_root(packages):
    shutil.rmtree(ROOT, ignore_errors=True)
    for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "tmp", "dev", "proc", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        os.makedirs(os.path.join(ROOT, folder))
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink("/" + name):
            os.symlink("usr/" + name, os.path.join(ROOT, name))
    files = set(run("dpkg-query", "-L", *packages).splitlines())
    files = sorted(name[1:] for name in files if name.startswith("/") and name != "/." and os.path.lexists(name)
                   and not name.startswith(("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/i18n")))
    pack = subprocess.Popen(["tar", "-C", "/", "--no-recursion", "-T", "-", "-cf", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    unpack = subprocess.Popen(["tar", "-C", ROOT, "--keep-directory-symlink", "-xf", "-"], stdin=pack.stdout)
    pack.stdout.close()
    pack.stdin.write("\n".join(files).encode())
    pack.stdin.close()
    if pack.wait() or unpack.wait():
        fail("the files of %s could not be copied" % packages)
    with open(os.path.join(ROOT, "var/lib/dpkg/status"), "w", encoding="utf-8") as f:
        for package in packages:
            f.write(run("dpkg-query", "-s", package).rstrip() + "\n\n")
    for package in packages:
        for name in glob.glob("/var/lib/dpkg/info/%s.list" % package) + glob.glob("/var/lib/dpkg/info/%s:*.list" % package):
            shutil.copy(name, os.path.join(ROOT, "var/lib/dpkg/info"))
    with open(os.path.join(ROOT, "dev/null"), "w", encoding="utf-8"):
        pass


def inside(*command):
    return run("/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", CHROOT, ROOT, *command)


def use(debs):
    said = inside("aios", "devices")
    if "cpu:0" not in said:
        fail("aios devices: " + said)
    for backend in ("cuda", "hip", "xpu"):
        if "libaios-" + backend in debs and not re.search(r"\b%s\b" % backend, inside("aios", "doctor")):
            fail("aios doctor does not name %s: %s" % (backend, inside("aios", "doctor")))
    with open(os.path.join(ROOT, "tmp/notes.txt"), "w", encoding="utf-8") as f:
        f.write("The quick brown fox jumps over the lazy dog.\n" * 200)
    sizes = "--n-layer 1 --n-head 1 --n-embd 16 --max-seq-len 16 --steps 3".split()
    inside("aios", "train", "--dataset-file", "/tmp/notes.txt", "--save-dir", "/tmp/run", *sizes)
    if not os.path.isfile(os.path.join(ROOT, "tmp/run/checkpoints/step-00000003/model.safetensors")):
        fail("aios train wrote no checkpoint")
    if "python3-aios" in debs and "cpu:0" not in inside("python3", "-c", "import aios; print([device.spec for device in aios.devices()])"):
        fail("Python lists no device")
    # A program that is compiled with the headers of libaios-dev and runs where that is.
    pc = glob.glob(os.path.join(ROOT, "usr/lib/**/libaios.pc"), recursive=True)[0]
    flags = run("pkg-config", "--cflags", "--libs", "libaios", env=dict(os.environ, PKG_CONFIG_LIBDIR=os.path.dirname(pc))).split()
    run(os.environ.get("CC", "cc"), os.path.join(SOURCE, "tests/install/consumer/consumer.c"), *flags, "-o", os.path.join(ROOT, "tmp/consumer"))
    if "cpu:0" not in inside("/tmp/consumer", VERSION):
        fail("the compiled program lists no device")


def main():
    os.environ["LC_ALL"] = "C"
    debs = make()
    look(debs)
    print("made: " + ", ".join(os.path.basename(deb) for deb in sorted(debs.values())))
    if os.geteuid() != 0 or subprocess.run([CHROOT, "/", "true"], stderr=subprocess.DEVNULL).returncode:
        print("SKIPPED: not installed: dpkg --root and chroot need root's rights")
        return 77
    needed = closure(debs)
    build_root(needed)
    print("a root of %d packages: %s" % (len(needed), " ".join(needed)))
    run("dpkg", "--root=" + ROOT, "--install", *debs.values())
    use(debs)
    run("dpkg", "--root=" + ROOT, "--purge", *debs)
    left = [os.path.join(folder, name) for folder, _, files in os.walk(os.path.join(ROOT, "usr")) for name in files if "aios" in name]
    if left:
        fail("left behind after removal: %s" % left)
    shutil.rmtree(ROOT)
    print("installed, used and removed: ok")
    return 0


sys.exit(main())
