#!/usr/bin/env python3
"""The command on simulated devices of every vendor whose plugin is built (arguments): `aios list-gpus` and `aios resolve`."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

SIM, AIOS = os.environ["AIOS_SIM"], os.environ["AIOS_TOOL"]
NAMES = {"cuda": "NVIDIA", "xpu": "Intel", "hip": "AMD"}
MASKS = {"cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK", "hip": "HIP_VISIBLE_DEVICES"}
INTEL_DRIVER = "/usr/lib/x86_64-linux-gnu/libze_intel_gpu.so.1"
BUILT = [backend for backend in NAMES if backend in sys.argv[1:]]  # in the order of the global ids


class OnSimulatedDevices(unittest.TestCase):
    def run_on(self, devices, *arguments, fault=None, drivers=None, **more):
        environment = {key: value for key, value in os.environ.items() if not key.endswith(("_VISIBLE_DEVICES", "_AFFINITY_MASK"))}
        return subprocess.run([SIM, "--devices", devices, *(["--fault", fault] if fault else []), *(["--drivers", drivers] if drivers else []), "--", AIOS, *arguments], env={**environment, **more}, encoding="utf-8",
                              capture_output=True, timeout=120, check=False)

    def done(self, devices, *arguments, **more):
        result = self.run_on(devices, *arguments, **more)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def setUp(self):
        # Two of the first vendor and one of each other one.
        self.counts = {backend: 1 + (backend == BUILT[0]) for backend in BUILT}
        self.devices = ",".join(f"{backend}:{count}" for backend, count in self.counts.items())
        self.specs = [f"{backend}:{i}" for backend, count in self.counts.items() for i in range(count)]

    def test_list_gpus_prints_the_table_in_the_order_of_ids(self):
        lines = self.done(self.devices, "list-gpus").splitlines()
        self.assertEqual(lines[0].split(), ["ID", "Vendor", "Model", "VRAM", "Backend"])
        self.assertEqual(len(lines), 1 + len(self.specs))
        for i, (line, spec) in enumerate(zip(lines[1:], self.specs)):
            backend = spec.split(":")[0]
            self.assertRegex(line, rf"^{i} +{NAMES[backend]} +\S.* +2 GiB +{backend}$")

    def test_weights_are_by_memory_and_make(self):
        factors = {"cuda": 1.0, "hip": 0.8, "xpu": 0.5}
        total = sum(factors[spec.split(":")[0]] for spec in self.specs)
        weights = {entry["device"]: entry["weight"] for entry in json.loads(self.done(self.devices, "devices", "--weights", "--json"))["weights"]}
        for spec in self.specs:
            self.assertAlmostEqual(weights[spec], factors[spec.split(":")[0]] / total)
        self.assertEqual(weights["cpu:0"], 0)
        self.assertRegex(self.done(self.devices, "devices", "--weights"), r"Device +Vendor +Memory +Weight")

    def test_list_gpus_has_full_records(self):
        gpus = json.loads(self.done(self.devices, "list-gpus", "--json"))["gpus"]
        self.assertEqual([gpu["device"] for gpu in gpus], self.specs)
        self.assertEqual([gpu["id"] for gpu in gpus], list(range(len(gpus))))
        for gpu in gpus:
            self.assertEqual(gpu["vendor"], NAMES[gpu["backend"]])
            self.assertEqual(gpu["vram_total"], 2 << 30)
            self.assertLessEqual(gpu["vram_available"], gpu["vram_total"])
            self.assertRegex(gpu["pci_address"], r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]$")
            for key in ("name", "uuid", "driver_version", "compute_capability"):
                self.assertTrue(gpu[key], (key, gpu))
        self.assertEqual(len({gpu["uuid"] for gpu in gpus}), len(gpus))

    def test_each_name_of_a_device_resolves_to_it(self):
        for gpu in json.loads(self.done(self.devices, "list-gpus", "--json"))["gpus"]:
            for word in (str(gpu["id"]), f"gpu:{gpu['id']}", gpu["device"], gpu["pci_address"], gpu["uuid"]):
                report = json.loads(self.done(self.devices, "resolve", "--json", word))
                self.assertEqual((report["specs"], report["devices"], report["strategy"]), ([gpu["device"]], [gpu["id"]], "auto"), word)

    def test_one_vendor_is_ddp_and_several_are_independent(self):
        report = json.loads(self.done(self.devices, "resolve", "--json", "--os", "linux", "--batch-size", "32", "gpu:0", "gpu:1"))
        self.assertEqual((report["strategy"], report["effective_batch_size"]), ("ddp", 64))
        self.assertIn("Effective batch size: 64 (32 × 2 GPUs)", report["notes"])
        if len(BUILT) > 1:
            report = json.loads(self.done(self.devices, "resolve", "--json", "--os", "linux", *self.specs))
            self.assertEqual((report["strategy"], report["devices"]), ("parallel_independent", list(range(len(self.specs)))))

    def trained_on(self, *arguments, devices=None, **more):
        """The devices that a run of one step had, and what it said on standard error."""
        with tempfile.TemporaryDirectory() as folder:
            text = os.path.join(folder, "text.txt")
            with open(text, "w", encoding="utf-8") as file:
                file.write("one two three four five six seven\n" * 40)
            result = self.run_on(devices or self.devices, "train", "--dataset-file", text, "--save-dir", os.path.join(folder, "run"), "--steps", "1",
                                 "--n-layer", "1", "--n-head", "1", "--n-embd", "16", "--max-seq-len", "8", "--batch-size", "1", "--json",
                                 *arguments, XDG_CACHE_HOME=folder, **more)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        events = {event["event"]: event for event in map(json.loads, result.stdout.splitlines())}
        start, resolved = events["run_start"], events["hardware_resolve"]
        self.assertEqual(start["strategy"], {"auto": "single", "ddp": "ddp", "parallel_independent": "parallel-independent"}[resolved["strategy"]])
        self.assertEqual(start["device"], ",".join(resolved["effective"]))
        return start["device"], result.stderr

    def test_training_reads_a_list_of_devices_as_resolve_does(self):
        gpus, specs = f"gpu:0,{self.specs[-1]},cpu", f"{self.specs[0]},{self.specs[-1]}"
        devices, said = self.trained_on("--devices", gpus)
        self.assertEqual(devices, specs)
        self.assertIn("mixed_device_selection", said)
        self.assertEqual(self.trained_on("--devices", gpus, "--keep-cpu"), (specs + ",cpu:0", ""))
        self.assertEqual(self.trained_on("--devices", '{"selected_devices": [0]}'), (self.specs[0], ""))

    @unittest.skipUnless("cuda" in BUILT, "no CUDA plugin")
    def test_cuda_ids_of_the_environment_are_what_auto_means(self):
        self.assertEqual(self.trained_on(AIOS_CUDA_IDS="1,0"), ("cuda:1,cuda:0", ""))
        report = json.loads(self.done(self.devices, "resolve", "--json", "auto", AIOS_CUDA_IDS="1"))
        self.assertEqual((report["requested"], report["specs"]), (["cuda:1"], ["cuda:1"]))

    def test_names_compose_with_a_visibility_mask(self):
        for backend in BUILT:
            mask, devices = {MASKS[backend]: "2,1"}, f"{backend}:3"
            known = {gpu["uuid"] for gpu in json.loads(self.done(devices, "list-gpus", "--json"))["gpus"]}
            hidden = [json.loads(self.done(devices, "list-gpus", "--json", **{MASKS[backend]: str(i)}))["gpus"][0]["uuid"] for i in range(3)]
            self.assertEqual(set(hidden), known, backend)
            shown = json.loads(self.done(devices, "list-gpus", "--json", **mask))
            self.assertEqual(shown["visibility"], mask)
            self.assertEqual([gpu["device"] for gpu in shown["gpus"]], [f"{backend}:0", f"{backend}:1"])
            self.assertEqual({gpu["uuid"] for gpu in shown["gpus"]}, {hidden[1], hidden[2]}, backend)
            report = json.loads(self.done(devices, "resolve", "--json", shown["gpus"][1]["uuid"], **mask))
            self.assertEqual(report["specs"], [f"{backend}:1"])
            for gone in (f"{backend}:2", hidden[0]):
                result = self.run_on(devices, "resolve", gone, **mask)
                self.assertEqual(result.returncode, 2)
                self.assertIn(f'{MASKS[backend]} is "2,1"', result.stderr)
        if "cuda" in BUILT:  # in the order of the mask
            hidden = [gpu["uuid"] for gpu in json.loads(self.done("cuda:3", "list-gpus", "--json"))["gpus"]]
            shown = json.loads(self.done("cuda:3", "list-gpus", "--json", CUDA_VISIBLE_DEVICES="2,1"))["gpus"]
            self.assertEqual([gpu["uuid"] for gpu in shown], [hidden[2], hidden[1]])

    def test_a_missing_device_is_exit_2_and_lists_what_is_there(self):
        result = self.run_on(self.devices, "resolve", "gpu:77")
        self.assertEqual(result.returncode, 2, result.stderr)
        for spec in self.specs:
            self.assertIn(spec, result.stderr)

    @unittest.skipUnless("cuda" in BUILT, "no CUDA plugin")
    def test_a_device_that_cannot_be_opened_is_left_out_with_its_reason_and_keeps_its_id(self):
        broken = {"fault": "cuDevicePrimaryCtxRetain@cuda:0:1:forever"}
        lines = self.run_on("cuda:2", "list-gpus", **broken).stdout.splitlines()
        self.assertRegex(lines[1], r"^1 +NVIDIA ")
        self.assertRegex(lines[2], r"^Left out: cuda:0: cuDevicePrimaryCtxRetain: \S")
        result = self.run_on("cuda:2", "resolve", "gpu:0", **broken)
        self.assertEqual(result.returncode, 2)
        self.assertIn("device gpu:0 can't be used: cuda:0: cuDevicePrimaryCtxRetain", result.stderr)
        self.assertEqual(json.loads(self.run_on("cuda:2", "resolve", "--json", "auto", **broken).stdout)["specs"], ["cuda:1"])

    @unittest.skipUnless("xpu" in BUILT, "no Intel plugin")
    def test_devices_of_several_intel_drivers_are_one_list(self):
        for drivers in ("all", "discrete,integrated", "integrated,discrete", "all,all"):
            gpus = json.loads(self.done("xpu:4", "list-gpus", "--json", drivers=drivers))["gpus"]
            self.assertEqual([gpu["device"] for gpu in gpus], ["xpu:0", "xpu:1", "xpu:2", "xpu:3"], drivers)
            # Discrete ones first, and each once, whoever shows it.
            self.assertEqual([gpu["name"][-1] for gpu in gpus], ["0", "2", "1", "3"], drivers)
            self.assertEqual([gpu["kind"] for gpu in gpus], ["discrete", "discrete", "integrated", "integrated"], drivers)
        self.assertEqual(self.trained_on("--devices", "0,1", devices="xpu:2", drivers="discrete,integrated"), ("xpu:0,xpu:1", ""))

    @unittest.skipUnless("xpu" in BUILT and os.path.exists(INTEL_DRIVER), "no Intel plugin, or not Intel's driver")
    def test_intels_own_driver_is_listed_beside_another(self):
        """In its capture mode it lists an Arc, on which nothing can run."""
        capture = {"NEOReadDebugKeys": "1", "SetCommandStreamReceiver": "1", "AUBDumpCaptureFileName": os.devnull, "ProductFamilyOverride": "dg2",
                   "ForceDeviceId": "0x56a0", "HardwareInfoOverride": "8x4x16"}
        folder = os.path.join(os.path.dirname(SIM), "..", "sim")
        drivers = f"{os.path.abspath(folder)}/libze_sim.so,{INTEL_DRIVER}"
        environment = {**os.environ, **capture, "AIOS_SIM": "xpu:2", "LD_LIBRARY_PATH": folder, "ZE_ENABLE_ALT_DRIVERS": drivers, "ZES_ENABLE_SYSMAN": "1"}
        result = subprocess.run([AIOS, "list-gpus", "--json"], env=environment, encoding="utf-8", capture_output=True, timeout=120, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        gpus = [(gpu["device"], gpu["kind"], gpu["architecture"], gpu["name"].startswith("Simulated")) for gpu in json.loads(result.stdout)["gpus"]]
        self.assertEqual(gpus, [("xpu:0", "discrete", "dg2", True), ("xpu:1", "discrete", "dg2", False), ("xpu:2", "integrated", "mtl", True)])

    @unittest.skipUnless("xpu" in BUILT, "no Intel plugin")
    def test_an_intel_driver_that_fails_hides_no_other(self):
        for fault, said in (("zeInit", ""), ("zeContextCreate", "driver 0 of 2"), ("zeDeviceGet@xpu", "")):
            result = self.run_on("xpu:4", "list-gpus", "--json", fault=f"{fault}@xpu" if "@" not in fault else fault, drivers="integrated,discrete")
            kinds = [gpu["kind"] for gpu in json.loads(result.stdout)["gpus"]]
            self.assertEqual(kinds[:2], ["discrete", "discrete"], fault)
            self.assertIn(said, result.stderr)
        result = self.run_on("xpu:2", "list-gpus", fault="zeDriverGet@xpu", drivers="discrete,integrated")
        self.assertIn("zeDriverGet gives 0x7ffffffe", result.stdout)

    @unittest.skipUnless("xpu" in BUILT, "no Intel plugin")
    def test_a_module_that_no_intel_driver_builds_is_an_error(self):
        build_failure = 0x70000004
        for drivers in ("all", "discrete,integrated"):  # with two, the loader of today returns a log that it can't read itself
            result = self.run_on("xpu:2", "train", "--device", "xpu:1", "--dataset-file", __file__, "--save-dir", os.devnull + "/none", fault=f"zeModuleCreate={build_failure}@xpu:1", drivers=drivers)
            self.assertEqual(result.returncode, 1, result.stderr)

    def test_a_kept_selection_knows_what_is_gone(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "devices.json")
            self.done(self.devices, "resolve", "--save", path, *self.specs)
            fewer = f"{BUILT[0]}:1"
            report = json.loads(self.done(fewer, "resolve", "--json", "--load", path))
            self.assertEqual((report["requested"], report["specs"]), (self.specs, self.specs[:1]))
            self.assertEqual(report["warnings"], ["selected_device_missing"])
            self.assertEqual(len(report["changes"]), len(self.specs) - 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
