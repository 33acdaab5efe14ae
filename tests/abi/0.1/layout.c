/* layout.c: sizes and offsets of every public structure, which programs and plugins that were built before rely on.
 * Compiled as C11 and as C++17.  Made by tests/abi/update. */
/* clang-format off */
#include <aios/api.h>
#include <aios/backend.h>
#include <aios/chunk_tracker.h>
#include <aios/context.h>
#include <aios/dataset.h>
#include <aios/device.h>
#include <aios/estimate.h>
#include <aios/graph.h>
#include <aios/hardware.h>
#include <aios/hrm.h>
#include <aios/model.h>
#include <aios/options.h>
#include <aios/plan.h>
#include <aios/puzzles.h>
#include <aios/status.h>
#include <aios/tokenizer.h>
#include <aios/trainer.h>

#include <assert.h>
#include <stddef.h>

#ifndef SIZE /* of a promise that is kept, structures may have grown: tests/abi/update */
#define SIZE(type, size) static_assert(sizeof(type) == (size), #type " changed its size")
#endif
#define FIELD(type, field, offset) static_assert(offsetof(type, field) == (offset), #type "." #field " moved")
#define VALUE(constant, value) static_assert((constant) == (value), #constant " changed its value")

#if UINTPTR_MAX == UINT64_MAX

SIZE(aios_host_services, 48);
FIELD(aios_host_services, struct_size, 0);
FIELD(aios_host_services, reserved, 4);
FIELD(aios_host_services, user, 8);
FIELD(aios_host_services, log, 16);
FIELD(aios_host_services, alloc, 24);
FIELD(aios_host_services, free, 32);
FIELD(aios_host_services, set_error, 40);

SIZE(aios_device_info, 392);
FIELD(aios_device_info, struct_size, 0);
FIELD(aios_device_info, index, 4);
FIELD(aios_device_info, kind, 8);
FIELD(aios_device_info, pci_vendor, 12);
FIELD(aios_device_info, backend, 16);
FIELD(aios_device_info, name, 32);
FIELD(aios_device_info, vendor, 160);
FIELD(aios_device_info, architecture, 192);
FIELD(aios_device_info, driver_version, 224);
FIELD(aios_device_info, pci_address, 256);
FIELD(aios_device_info, uuid, 288);
FIELD(aios_device_info, memory_total, 352);
FIELD(aios_device_info, alignment, 360);
FIELD(aios_device_info, compute_units, 368);
FIELD(aios_device_info, teams, 372);
FIELD(aios_device_info, team_size, 376);
FIELD(aios_device_info, storage_types, 380);
FIELD(aios_device_info, fast_gemm_types, 384);
FIELD(aios_device_info, host_accessible, 388);

SIZE(aios_kernel_argument, 16);
FIELD(aios_kernel_argument, name, 0);
FIELD(aios_kernel_argument, kind, 8);
FIELD(aios_kernel_argument, size, 9);

SIZE(aios_kernel, 24);
FIELD(aios_kernel, name, 0);
FIELD(aios_kernel, arguments, 8);
FIELD(aios_kernel, argument_count, 16);
FIELD(aios_kernel, reserved, 20);

SIZE(aios_gemm, 136);
FIELD(aios_gemm, struct_size, 0);
FIELD(aios_gemm, type_ab, 4);
FIELD(aios_gemm, type_c, 8);
FIELD(aios_gemm, transpose_a, 12);
FIELD(aios_gemm, transpose_b, 16);
FIELD(aios_gemm, m, 20);
FIELD(aios_gemm, n, 24);
FIELD(aios_gemm, k, 28);
FIELD(aios_gemm, batch, 32);
FIELD(aios_gemm, epilogue, 36);
FIELD(aios_gemm, lda, 40);
FIELD(aios_gemm, ldb, 48);
FIELD(aios_gemm, ldc, 56);
FIELD(aios_gemm, stride_a, 64);
FIELD(aios_gemm, stride_b, 72);
FIELD(aios_gemm, stride_c, 80);
FIELD(aios_gemm, a, 88);
FIELD(aios_gemm, b, 96);
FIELD(aios_gemm, c, 104);
FIELD(aios_gemm, bias, 112);
FIELD(aios_gemm, aux, 120);
FIELD(aios_gemm, alpha, 128);
FIELD(aios_gemm, beta, 132);

SIZE(aios_gemm_group, 16);
FIELD(aios_gemm_group, struct_size, 0);
FIELD(aios_gemm_group, epilogues, 4);
FIELD(aios_gemm_group, gemm, 8);

SIZE(aios_attention, 160);
FIELD(aios_attention, struct_size, 0);
FIELD(aios_attention, type, 4);
FIELD(aios_attention, batch, 8);
FIELD(aios_attention, heads, 12);
FIELD(aios_attention, kv_heads, 16);
FIELD(aios_attention, head_size, 20);
FIELD(aios_attention, q_len, 24);
FIELD(aios_attention, kv_len, 28);
FIELD(aios_attention, kv_capacity, 32);
FIELD(aios_attention, causal, 36);
FIELD(aios_attention, q_stride, 40);
FIELD(aios_attention, kv_stride, 48);
FIELD(aios_attention, out_stride, 56);
FIELD(aios_attention, scale, 64);
FIELD(aios_attention, start, 72);
FIELD(aios_attention, q, 80);
FIELD(aios_attention, k, 88);
FIELD(aios_attention, v, 96);
FIELD(aios_attention, out, 104);
FIELD(aios_attention, lse, 112);
FIELD(aios_attention, d_out, 120);
FIELD(aios_attention, d_q, 128);
FIELD(aios_attention, d_k, 136);
FIELD(aios_attention, d_v, 144);
FIELD(aios_attention, workspace, 152);

SIZE(aios_attention_group, 32);
FIELD(aios_attention_group, struct_size, 0);
FIELD(aios_attention_group, reserved, 4);
FIELD(aios_attention_group, workspace_size, 8);
FIELD(aios_attention_group, forward, 16);
FIELD(aios_attention_group, backward, 24);

SIZE(aios_capture_group, 40);
FIELD(aios_capture_group, struct_size, 0);
FIELD(aios_capture_group, reserved, 4);
FIELD(aios_capture_group, begin, 8);
FIELD(aios_capture_group, end, 16);
FIELD(aios_capture_group, replay, 24);
FIELD(aios_capture_group, destroy, 32);

SIZE(aios_collective_group, 88);
FIELD(aios_collective_group, struct_size, 0);
FIELD(aios_collective_group, types, 4);
FIELD(aios_collective_group, get_version, 8);
FIELD(aios_collective_group, get_unique_id, 16);
FIELD(aios_collective_group, create, 24);
FIELD(aios_collective_group, query, 32);
FIELD(aios_collective_group, abort, 40);
FIELD(aios_collective_group, destroy, 48);
FIELD(aios_collective_group, all_reduce, 56);
FIELD(aios_collective_group, reduce_scatter, 64);
FIELD(aios_collective_group, all_gather, 72);
FIELD(aios_collective_group, broadcast, 80);

SIZE(aios_telemetry, 20);
FIELD(aios_telemetry, struct_size, 0);
FIELD(aios_telemetry, utilisation, 4);
FIELD(aios_telemetry, temperature, 8);
FIELD(aios_telemetry, power, 12);
FIELD(aios_telemetry, power_limit, 16);

SIZE(aios_telemetry_group, 16);
FIELD(aios_telemetry_group, struct_size, 0);
FIELD(aios_telemetry_group, reserved, 4);
FIELD(aios_telemetry_group, read, 8);

SIZE(aios_gpu_device, 240);
FIELD(aios_gpu_device, struct_size, 0);
FIELD(aios_gpu_device, reserved, 4);
FIELD(aios_gpu_device, open, 8);
FIELD(aios_gpu_device, close, 16);
FIELD(aios_gpu_device, get_info, 24);
FIELD(aios_gpu_device, get_memory_info, 32);
FIELD(aios_gpu_device, set_device, 40);
FIELD(aios_gpu_device, synchronize, 48);
FIELD(aios_gpu_device, create_stream, 56);
FIELD(aios_gpu_device, destroy_stream, 64);
FIELD(aios_gpu_device, synchronize_stream, 72);
FIELD(aios_gpu_device, create_event, 80);
FIELD(aios_gpu_device, destroy_event, 88);
FIELD(aios_gpu_device, record_event, 96);
FIELD(aios_gpu_device, wait_event, 104);
FIELD(aios_gpu_device, synchronize_event, 112);
FIELD(aios_gpu_device, elapsed_ms, 120);
FIELD(aios_gpu_device, alloc, 128);
FIELD(aios_gpu_device, free, 136);
FIELD(aios_gpu_device, host_alloc, 144);
FIELD(aios_gpu_device, host_free, 152);
FIELD(aios_gpu_device, copy, 160);
FIELD(aios_gpu_device, fill, 168);
FIELD(aios_gpu_device, copy_peer, 176);
FIELD(aios_gpu_device, load_kernels, 184);
FIELD(aios_gpu_device, launch, 192);
FIELD(aios_gpu_device, gemm, 200);
FIELD(aios_gpu_device, attention, 208);
FIELD(aios_gpu_device, capture, 216);
FIELD(aios_gpu_device, collectives, 224);
FIELD(aios_gpu_device, telemetry, 232);

SIZE(aios_backend, 48);
FIELD(aios_backend, struct_size, 0);
FIELD(aios_backend, abi, 4);
FIELD(aios_backend, name, 8);
FIELD(aios_backend, vendor, 16);
FIELD(aios_backend, version, 24);
FIELD(aios_backend, device_count, 32);
FIELD(aios_backend, device, 40);

SIZE(aios_chunk_tracker_options, 88);
FIELD(aios_chunk_tracker_options, struct_size, 0);
FIELD(aios_chunk_tracker_options, durability, 4);
FIELD(aios_chunk_tracker_options, folder, 8);
FIELD(aios_chunk_tracker_options, brain_id, 16);
FIELD(aios_chunk_tracker_options, dataset_name, 24);
FIELD(aios_chunk_tracker_options, dataset_identity, 32);
FIELD(aios_chunk_tracker_options, block_samples, 40);
FIELD(aios_chunk_tracker_options, chunk_samples, 48);
FIELD(aios_chunk_tracker_options, total_samples, 56);
FIELD(aios_chunk_tracker_options, lease_seconds, 64);
FIELD(aios_chunk_tracker_options, busy_seconds, 72);
FIELD(aios_chunk_tracker_options, recover, 80);
FIELD(aios_chunk_tracker_options, read_only, 84);

SIZE(aios_chunk_claim_options, 48);
FIELD(aios_chunk_claim_options, struct_size, 0);
FIELD(aios_chunk_claim_options, gpu_id, 4);
FIELD(aios_chunk_claim_options, owner, 8);
FIELD(aios_chunk_claim_options, device, 16);
FIELD(aios_chunk_claim_options, start_block, 24);
FIELD(aios_chunk_claim_options, start_chunk, 32);
FIELD(aios_chunk_claim_options, last_epoch, 40);

SIZE(aios_chunk_claim, 72);
FIELD(aios_chunk_claim, struct_size, 0);
FIELD(aios_chunk_claim, outcome, 4);
FIELD(aios_chunk_claim, token, 8);
FIELD(aios_chunk_claim, epoch, 16);
FIELD(aios_chunk_claim, block, 24);
FIELD(aios_chunk_claim, chunk, 32);
FIELD(aios_chunk_claim, offset, 40);
FIELD(aios_chunk_claim, first, 48);
FIELD(aios_chunk_claim, end, 56);
FIELD(aios_chunk_claim, wait_seconds, 64);

SIZE(aios_chunk_tracker_info, 128);
FIELD(aios_chunk_tracker_info, struct_size, 0);
FIELD(aios_chunk_tracker_info, needs_resume, 4);
FIELD(aios_chunk_tracker_info, block_samples, 8);
FIELD(aios_chunk_tracker_info, chunk_samples, 16);
FIELD(aios_chunk_tracker_info, total_samples, 24);
FIELD(aios_chunk_tracker_info, total_blocks, 32);
FIELD(aios_chunk_tracker_info, epochs, 40);
FIELD(aios_chunk_tracker_info, current_epoch, 48);
FIELD(aios_chunk_tracker_info, sealed, 56);
FIELD(aios_chunk_tracker_info, committed, 64);
FIELD(aios_chunk_tracker_info, forgotten, 72);
FIELD(aios_chunk_tracker_info, claims, 80);
FIELD(aios_chunk_tracker_info, steps, 88);
FIELD(aios_chunk_tracker_info, brain_id, 96);
FIELD(aios_chunk_tracker_info, dataset_name, 104);
FIELD(aios_chunk_tracker_info, dataset_identity, 112);
FIELD(aios_chunk_tracker_info, path, 120);

SIZE(aios_chunk_progress, 88);
FIELD(aios_chunk_progress, struct_size, 0);
FIELD(aios_chunk_progress, complete, 4);
FIELD(aios_chunk_progress, samples, 8);
FIELD(aios_chunk_progress, trained, 16);
FIELD(aios_chunk_progress, committed, 24);
FIELD(aios_chunk_progress, claimed, 32);
FIELD(aios_chunk_progress, chunks, 40);
FIELD(aios_chunk_progress, chunks_trained, 48);
FIELD(aios_chunk_progress, chunks_committed, 56);
FIELD(aios_chunk_progress, blocks, 64);
FIELD(aios_chunk_progress, blocks_trained, 72);
FIELD(aios_chunk_progress, blocks_committed, 80);

SIZE(aios_chunk_share, 96);
FIELD(aios_chunk_share, struct_size, 0);
FIELD(aios_chunk_share, gpu_id, 4);
FIELD(aios_chunk_share, device, 8);
FIELD(aios_chunk_share, committed, 72);
FIELD(aios_chunk_share, pending, 80);
FIELD(aios_chunk_share, steps, 88);

SIZE(aios_chunk_holder, 216);
FIELD(aios_chunk_holder, struct_size, 0);
FIELD(aios_chunk_holder, gpu_id, 4);
FIELD(aios_chunk_holder, device, 8);
FIELD(aios_chunk_holder, owner, 72);
FIELD(aios_chunk_holder, process, 136);
FIELD(aios_chunk_holder, token, 144);
FIELD(aios_chunk_holder, epoch, 152);
FIELD(aios_chunk_holder, block, 160);
FIELD(aios_chunk_holder, chunk, 168);
FIELD(aios_chunk_holder, first, 176);
FIELD(aios_chunk_holder, end, 184);
FIELD(aios_chunk_holder, trained, 192);
FIELD(aios_chunk_holder, lease_seconds, 200);
FIELD(aios_chunk_holder, claimed_at, 208);

SIZE(aios_allocator, 40);
FIELD(aios_allocator, struct_size, 0);
FIELD(aios_allocator, reserved, 4);
FIELD(aios_allocator, user, 8);
FIELD(aios_allocator, alloc, 16);
FIELD(aios_allocator, realloc, 24);
FIELD(aios_allocator, free, 32);

SIZE(aios_context_options, 56);
FIELD(aios_context_options, struct_size, 0);
FIELD(aios_context_options, log_level, 4);
FIELD(aios_context_options, allocator, 8);
FIELD(aios_context_options, log, 16);
FIELD(aios_context_options, log_user, 24);
FIELD(aios_context_options, event, 32);
FIELD(aios_context_options, event_user, 40);
FIELD(aios_context_options, device_deadline, 48);

SIZE(aios_dataset_options, 80);
FIELD(aios_dataset_options, struct_size, 0);
FIELD(aios_dataset_options, sequence_length, 4);
FIELD(aios_dataset_options, path, 8);
FIELD(aios_dataset_options, tokenizer, 16);
FIELD(aios_dataset_options, cache_folder, 24);
FIELD(aios_dataset_options, eval_fraction, 32);
FIELD(aios_dataset_options, seed, 40);
FIELD(aios_dataset_options, split, 48);
FIELD(aios_dataset_options, shuffle, 52);
FIELD(aios_dataset_options, progress, 56);
FIELD(aios_dataset_options, progress_user, 64);
FIELD(aios_dataset_options, skip_bad_lines, 72);
FIELD(aios_dataset_options, temporary_cache, 76);

SIZE(aios_device_entry, 440);
FIELD(aios_device_entry, struct_size, 0);
FIELD(aios_device_entry, id, 4);
FIELD(aios_device_entry, spec, 8);
FIELD(aios_device_entry, memory_free, 40);
FIELD(aios_device_entry, info, 48);

SIZE(aios_backend_entry, 572);
FIELD(aios_backend_entry, struct_size, 0);
FIELD(aios_backend_entry, device_count, 4);
FIELD(aios_backend_entry, status, 8);
FIELD(aios_backend_entry, name, 12);
FIELD(aios_backend_entry, version, 28);
FIELD(aios_backend_entry, path, 60);
FIELD(aios_backend_entry, reason, 316);

SIZE(aios_device_estimate, 248);
FIELD(aios_device_estimate, struct_size, 0);
FIELD(aios_device_estimate, assumed, 4);
FIELD(aios_device_estimate, spec, 8);
FIELD(aios_device_estimate, name, 40);
FIELD(aios_device_estimate, parameters, 168);
FIELD(aios_device_estimate, gradients, 176);
FIELD(aios_device_estimate, optimizer, 184);
FIELD(aios_device_estimate, activations, 192);
FIELD(aios_device_estimate, workspace, 200);
FIELD(aios_device_estimate, exchange, 208);
FIELD(aios_device_estimate, evaluation, 216);
FIELD(aios_device_estimate, total, 224);
FIELD(aios_device_estimate, host, 232);
FIELD(aios_device_estimate, memory, 240);

SIZE(aios_attention_options, 32);
FIELD(aios_attention_options, struct_size, 0);
FIELD(aios_attention_options, heads, 4);
FIELD(aios_attention_options, kv_heads, 8);
FIELD(aios_attention_options, causal, 12);
FIELD(aios_attention_options, scale, 16);
FIELD(aios_attention_options, rope_theta, 20);
FIELD(aios_attention_options, cache, 24);
FIELD(aios_attention_options, start, 28);

SIZE(aios_hardware_options, 48);
FIELD(aios_hardware_options, struct_size, 0);
FIELD(aios_hardware_options, batch_size, 4);
FIELD(aios_hardware_options, num_workers, 8);
FIELD(aios_hardware_options, fallback, 12);
FIELD(aios_hardware_options, precision, 16);
FIELD(aios_hardware_options, strategy, 24);
FIELD(aios_hardware_options, os, 32);
FIELD(aios_hardware_options, keep_cpu, 40);

SIZE(aios_hrm_scores, 48);
FIELD(aios_hrm_scores, struct_size, 0);
FIELD(aios_hrm_scores, reserved, 4);
FIELD(aios_hrm_scores, examples, 8);
FIELD(aios_hrm_scores, exact_accuracy, 16);
FIELD(aios_hrm_scores, accuracy, 24);
FIELD(aios_hrm_scores, halt_accuracy, 32);
FIELD(aios_hrm_scores, loss, 40);

SIZE(aios_hrm_segment, 32);
FIELD(aios_hrm_segment, struct_size, 0);
FIELD(aios_hrm_segment, step, 4);
FIELD(aios_hrm_segment, halt, 8);
FIELD(aios_hrm_segment, go_on, 16);
FIELD(aios_hrm_segment, answers, 24);

SIZE(aios_model_functions, 56);
FIELD(aios_model_functions, struct_size, 0);
FIELD(aios_model_functions, vocabulary_size, 4);
FIELD(aios_model_functions, context_length, 8);
FIELD(aios_model_functions, reserved, 12);
FIELD(aios_model_functions, name, 16);
FIELD(aios_model_functions, config_json, 24);
FIELD(aios_model_functions, user, 32);
FIELD(aios_model_functions, record, 40);
FIELD(aios_model_functions, destroy, 48);

SIZE(aios_option_info, 80);
FIELD(aios_option_info, struct_size, 0);
FIELD(aios_option_info, type, 4);
FIELD(aios_option_info, scopes, 8);
FIELD(aios_option_info, reserved, 12);
FIELD(aios_option_info, minimum, 16);
FIELD(aios_option_info, maximum, 24);
FIELD(aios_option_info, name, 32);
FIELD(aios_option_info, default_text, 40);
FIELD(aios_option_info, choices, 48);
FIELD(aios_option_info, help, 56);
FIELD(aios_option_info, section, 64);
FIELD(aios_option_info, alias, 72);

SIZE(aios_parameters_options, 12);
FIELD(aios_parameters_options, struct_size, 0);
FIELD(aios_parameters_options, precision, 4);
FIELD(aios_parameters_options, training, 8);

SIZE(aios_parameter_info, 48);
FIELD(aios_parameter_info, struct_size, 0);
FIELD(aios_parameter_info, rank, 4);
FIELD(aios_parameter_info, shape, 8);
FIELD(aios_parameter_info, group, 24);
FIELD(aios_parameter_info, reserved, 28);
FIELD(aios_parameter_info, count, 32);
FIELD(aios_parameter_info, name, 40);

SIZE(aios_plan_options, 16);
FIELD(aios_plan_options, struct_size, 0);
FIELD(aios_plan_options, training, 4);
FIELD(aios_plan_options, gradient_checkpointing, 8);
FIELD(aios_plan_options, capture, 12);

SIZE(aios_loss_sums, 32);
FIELD(aios_loss_sums, struct_size, 0);
FIELD(aios_loss_sums, reserved, 4);
FIELD(aios_loss_sums, loss, 8);
FIELD(aios_loss_sums, rows, 16);
FIELD(aios_loss_sums, hits, 24);

SIZE(aios_plan_memory, 32);
FIELD(aios_plan_memory, struct_size, 0);
FIELD(aios_plan_memory, instructions, 4);
FIELD(aios_plan_memory, activations, 8);
FIELD(aios_plan_memory, unshared, 16);
FIELD(aios_plan_memory, workspace, 24);

SIZE(aios_optimizer_options, 80);
FIELD(aios_optimizer_options, struct_size, 0);
FIELD(aios_optimizer_options, kind, 4);
FIELD(aios_optimizer_options, beta1, 8);
FIELD(aios_optimizer_options, beta2, 16);
FIELD(aios_optimizer_options, eps, 24);
FIELD(aios_optimizer_options, weight_decay, 32);
FIELD(aios_optimizer_options, max_norm, 40);
FIELD(aios_optimizer_options, loss_scale, 48);
FIELD(aios_optimizer_options, growth_interval, 56);
FIELD(aios_optimizer_options, reserved, 60);
FIELD(aios_optimizer_options, rows_lr_factor, 64);
FIELD(aios_optimizer_options, rows_weight_decay, 72);

SIZE(aios_step_result, 40);
FIELD(aios_step_result, struct_size, 0);
FIELD(aios_step_result, finite, 4);
FIELD(aios_step_result, norm, 8);
FIELD(aios_step_result, loss_scale, 16);
FIELD(aios_step_result, skipped, 24);
FIELD(aios_step_result, skipped_in_a_row, 32);

SIZE(aios_puzzles_info, 56);
FIELD(aios_puzzles_info, struct_size, 0);
FIELD(aios_puzzles_info, vocabulary_size, 4);
FIELD(aios_puzzles_info, length, 8);
FIELD(aios_puzzles_info, pad_id, 12);
FIELD(aios_puzzles_info, ignore_label_id, 16);
FIELD(aios_puzzles_info, blank_identifier_id, 20);
FIELD(aios_puzzles_info, identifier_count, 24);
FIELD(aios_puzzles_info, kind, 28);
FIELD(aios_puzzles_info, examples, 32);
FIELD(aios_puzzles_info, puzzles, 40);
FIELD(aios_puzzles_info, groups, 48);

SIZE(aios_puzzles_position, 16);
FIELD(aios_puzzles_position, epoch, 0);
FIELD(aios_puzzles_position, visit, 8);

SIZE(aios_sudoku_options, 40);
FIELD(aios_sudoku_options, struct_size, 0);
FIELD(aios_sudoku_options, size, 4);
FIELD(aios_sudoku_options, clues, 8);
FIELD(aios_sudoku_options, min_backtracks, 12);
FIELD(aios_sudoku_options, augmentations, 16);
FIELD(aios_sudoku_options, reserved, 20);
FIELD(aios_sudoku_options, count, 24);
FIELD(aios_sudoku_options, seed, 32);

SIZE(aios_maze_options, 40);
FIELD(aios_maze_options, struct_size, 0);
FIELD(aios_maze_options, size, 4);
FIELD(aios_maze_options, min_length, 8);
FIELD(aios_maze_options, openings, 12);
FIELD(aios_maze_options, dihedral, 16);
FIELD(aios_maze_options, reserved, 20);
FIELD(aios_maze_options, count, 24);
FIELD(aios_maze_options, seed, 32);

SIZE(aios_trainer_metrics, 80);
FIELD(aios_trainer_metrics, struct_size, 0);
FIELD(aios_trainer_metrics, running, 4);
FIELD(aios_trainer_metrics, step, 8);
FIELD(aios_trainer_metrics, steps, 16);
FIELD(aios_trainer_metrics, tokens, 24);
FIELD(aios_trainer_metrics, loss, 32);
FIELD(aios_trainer_metrics, eval_loss, 40);
FIELD(aios_trainer_metrics, lr, 48);
FIELD(aios_trainer_metrics, grad_norm, 56);
FIELD(aios_trainer_metrics, tokens_per_second, 64);
FIELD(aios_trainer_metrics, elapsed, 72);

SIZE(aios_merge_options, 32);
FIELD(aios_merge_options, struct_size, 0);
FIELD(aios_merge_options, count, 4);
FIELD(aios_merge_options, folders, 8);
FIELD(aios_merge_options, weights, 16);
FIELD(aios_merge_options, output, 24);

SIZE(aios_evaluation, 48);
FIELD(aios_evaluation, struct_size, 0);
FIELD(aios_evaluation, reserved, 4);
FIELD(aios_evaluation, tokens, 8);
FIELD(aios_evaluation, loss, 16);
FIELD(aios_evaluation, perplexity, 24);
FIELD(aios_evaluation, accuracy, 32);
FIELD(aios_evaluation, nats_per_byte, 40);

VALUE(AIOS_OK, 0);
VALUE(AIOS_INVALID_ARGUMENT, 1);
VALUE(AIOS_OUT_OF_RANGE, 2);
VALUE(AIOS_NOT_FOUND, 3);
VALUE(AIOS_ALREADY_EXISTS, 4);
VALUE(AIOS_OUT_OF_MEMORY, 5);
VALUE(AIOS_DEVICE_OUT_OF_MEMORY, 6);
VALUE(AIOS_IO, 7);
VALUE(AIOS_CORRUPT, 8);
VALUE(AIOS_UNSUPPORTED, 9);
VALUE(AIOS_UNAVAILABLE, 10);
VALUE(AIOS_ABI_MISMATCH, 11);
VALUE(AIOS_DEVICE_ERROR, 12);
VALUE(AIOS_DEVICE_LOST, 13);
VALUE(AIOS_TIMEOUT, 14);
VALUE(AIOS_STOPPED, 15);
VALUE(AIOS_NOT_FINITE, 16);
VALUE(AIOS_WRONG_STATE, 17);
VALUE(AIOS_INTERNAL, 18);
VALUE(AIOS_LOG_ERROR, 0);
VALUE(AIOS_LOG_WARNING, 1);
VALUE(AIOS_LOG_INFO, 2);
VALUE(AIOS_LOG_DEBUG, 3);
VALUE(AIOS_F32, 0);
VALUE(AIOS_BF16, 1);
VALUE(AIOS_F16, 2);
VALUE(AIOS_I32, 3);
VALUE(AIOS_U8, 4);
VALUE(AIOS_DEVICE_DISCRETE, 0);
VALUE(AIOS_DEVICE_INTEGRATED, 1);
VALUE(AIOS_DEVICE_CPU, 2);
VALUE(AIOS_ARG_OUT, 0);
VALUE(AIOS_ARG_IN, 1);
VALUE(AIOS_ARG_VALUE, 2);
VALUE(AIOS_EPILOGUE_NONE, 0);
VALUE(AIOS_EPILOGUE_BIAS, 1);
VALUE(AIOS_EPILOGUE_BIAS_GELU, 2);
VALUE(AIOS_EPILOGUE_GELU_BACKWARD, 3);
VALUE(AIOS_EPILOGUE_BIAS_GRADIENT_A, 4);
VALUE(AIOS_EPILOGUE_BIAS_GRADIENT_B, 5);
VALUE(AIOS_COPY_HOST_TO_DEVICE, 0);
VALUE(AIOS_COPY_DEVICE_TO_HOST, 1);
VALUE(AIOS_COPY_DEVICE_TO_DEVICE, 2);
VALUE(AIOS_CHUNK_DURABLE_AT_CHECKPOINTS, 0);
VALUE(AIOS_CHUNK_DURABLE_EVERY_CALL, 1);
VALUE(AIOS_CHUNK_CLAIMED, 0);
VALUE(AIOS_CHUNK_WAIT, 1);
VALUE(AIOS_CHUNK_FINISHED, 2);
VALUE(AIOS_SPLIT_ALL, 0);
VALUE(AIOS_SPLIT_TRAIN, 1);
VALUE(AIOS_SPLIT_EVAL, 2);
VALUE(AIOS_INIT_ZERO, 0);
VALUE(AIOS_INIT_ONE, 1);
VALUE(AIOS_INIT_NORMAL, 2);
VALUE(AIOS_INIT_TRUNCATED_NORMAL, 3);
VALUE(AIOS_INIT_CONSTANT, 4);
VALUE(AIOS_GROUP_DECAY, 0);
VALUE(AIOS_GROUP_NO_DECAY, 1);
VALUE(AIOS_GROUP_FROZEN, 2);
VALUE(AIOS_WEIGHT_OUT_IN, 0);
VALUE(AIOS_WEIGHT_IN_OUT, 1);
VALUE(AIOS_ACTIVATION_NONE, 0);
VALUE(AIOS_ACTIVATION_GELU, 1);
VALUE(AIOS_SOFTMAX, 0);
VALUE(AIOS_STABLEMAX, 1);
VALUE(AIOS_MODEL_TRAIN, 0);
VALUE(AIOS_MODEL_EVAL, 1);
VALUE(AIOS_MODEL_DECODE, 2);
VALUE(AIOS_SCOPE_TRAIN, 1);
VALUE(AIOS_SCOPE_EVAL, 2);
VALUE(AIOS_SCOPE_GENERATE, 4);
VALUE(AIOS_SCOPE_DATA, 8);
VALUE(AIOS_SCOPE_HRM, 16);
VALUE(AIOS_OPTION_INT, 0);
VALUE(AIOS_OPTION_FLOAT, 1);
VALUE(AIOS_OPTION_BOOL, 2);
VALUE(AIOS_OPTION_STRING, 3);
VALUE(AIOS_OPTION_CHOICE, 4);
VALUE(AIOS_PRECISION_32, 0);
VALUE(AIOS_PRECISION_16_MIXED, 1);
VALUE(AIOS_PRECISION_BF16_MIXED, 2);
VALUE(AIOS_VALUE, 0);
VALUE(AIOS_GRADIENT, 1);
VALUE(AIOS_MOMENT1, 2);
VALUE(AIOS_MOMENT2, 3);
VALUE(AIOS_ADAMW, 0);
VALUE(AIOS_ADAM_ATAN2, 1);
VALUE(AIOS_SIGN_SGD, 2);
VALUE(AIOS_PUZZLE_OTHER, 0);
VALUE(AIOS_PUZZLE_SUDOKU, 1);
VALUE(AIOS_PUZZLE_MAZE, 2);
VALUE(AIOS_PUZZLE_ARC, 3);
VALUE(AIOS_STOP_GRACEFUL, 1);
VALUE(AIOS_STOP_IMMEDIATE, 2);
#endif

int main(void)
{
    return 0;
}
