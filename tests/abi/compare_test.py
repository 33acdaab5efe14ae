#!/usr/bin/env python3
"""What tests/abi/update --compare takes for a break of the ABI and what for an addition, on changed copies of the public headers."""
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("update", os.path.join(HERE, "update"))
update = importlib.util.module_from_spec(importlib.util.spec_from_loader("update", loader))
loader.exec_module(update)


class Compare(unittest.TestCase):
    def verdict(self, header, old, new):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(os.path.join(update.frozen(), "include", "aios"), os.path.join(folder, "aios"))
            path = os.path.join(folder, "aios", header)
            with open(path, encoding="utf-8") as f:
                text = f.read()
            self.assertIn(old, text)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text.replace(old, new))
            return update.compare(folder)

    def test_the_promise_keeps_itself(self):
        self.assertIsNone(update.compare(os.path.join(update.frozen(), "include")))

    def test_a_new_function_is_an_addition(self):
        line = "AIOS_API void aios_error_clear(void);"
        self.assertIsNone(self.verdict("status.h", line, line + "\nAIOS_API int32_t aios_error_count(void);"))

    def test_a_field_at_the_end_is_an_addition(self):
        line = "    double lr, grad_norm, tokens_per_second, elapsed;\n"
        self.assertIsNone(self.verdict("trainer.h", line, line + "    double watts;\n"))

    def test_a_structure_with_an_init_function_grows_with_a_new_version_of_it(self):
        broken = self.verdict("chunk_tracker.h", "    int32_t read_only; ", "    int32_t read_only;\n    double patience; ")
        self.assertIn("aios_chunk_tracker_options_init would write", broken)

    def test_a_function_that_is_gone_is_a_break(self):
        broken = self.verdict("status.h", "AIOS_API void aios_error_clear(void);", "")
        self.assertIn("aios_error_clear", broken)
        self.assertIn("--freeze", broken)  # what to do

    def test_a_parameter_of_another_type_is_a_break(self):
        self.assertIn("aios_parameters_initialize", self.verdict("plan.h", "aios_parameters *parameters, uint64_t seed", "aios_parameters *parameters, uint32_t seed"))

    def test_a_field_in_the_middle_is_a_break(self):
        self.assertIn("aios_trainer_metrics", self.verdict("trainer.h", "    int32_t running;\n", "    int32_t running;\n    double watts;\n"))

    def test_a_field_of_another_type_is_a_break(self):
        self.assertIn("aios_plan_options", self.verdict("plan.h", "    int32_t gradient_checkpointing;", "    float gradient_checkpointing;"))

    def test_a_constant_with_another_number_is_a_break(self):
        self.assertIn("AIOS_STOP_GRACEFUL", self.verdict("trainer.h", "AIOS_STOP_GRACEFUL = 1, AIOS_STOP_IMMEDIATE = 2",
                                                         "AIOS_STOP_GRACEFUL = 2, AIOS_STOP_IMMEDIATE = 1"))

    def test_an_entry_in_the_middle_of_the_backends_table_is_a_break(self):
        self.assertIn("moved", self.verdict("backend.h", "    void (*free)(void *user, void *pointer);\n", "    void (*trim)(void *user);\n    void (*free)(void *user, void *pointer);\n"))


if __name__ == "__main__":
    unittest.main()
