/* The commands: everything that help, completion and flags know of them. */
#include "tool.h"

#include <string.h>

const struct flag global_flags[] = {
    {"json", NULL, "", "write results as JSON on standard output; train writes one event per line"},
    {"quiet", NULL, "", "write results and errors alone"},
    {"log-level", "LEVEL", "error|warning|info|debug", "what the library says on standard error (warning)"},
    {"config", "FILE", "", "read options from a JSON object of names and values; flags come after it"},
    {"help", NULL, "", "describe the command"},
    {"version", NULL, "", "print the version"},
};
const int global_flag_count = COUNT_OF(global_flags);

static const struct flag options_flags[] = {
    {"markdown", NULL, "", "write the table as Markdown"},
};

static const struct flag help_flags[] = {
    {"man", NULL, "", "write the manual page, in the language of man"},
};

static const struct flag resolve_flags[] = {
    {"batch-size", "N", "", "samples per device, to tell the effective batch"},
    {"num-workers", "N", "", "data loading threads per device, to tell their total"},
    {"precision", "32|16-mixed|bf16-mixed", "32|16-mixed|bf16-mixed", "what is to be trained in; every device must be able to"},
    {"strategy", "auto|ddp|parallel_independent", "auto|ddp|parallel_independent", "ask for one instead of the one that the rules give"},
    {"keep-cpu", NULL, "", "a CPU that is selected beside GPUs trains with them, instead of being ignored"},
    {"os", "linux|windows|macos", "linux|windows|macos", "whose rules hold, if not this system's"},
    {"save", "FILE", "", "keep the selection in FILE"},
    {"load", "FILE", "", "instead of DEVICE…: take the selection that FILE keeps, and tell what changed since"},
};

static const char resolve_examples[] =
    "Two GPUs that are to train together:\n"
    "  aios resolve --batch-size 32 gpu:0 gpu:1\n"
    "What a configuration file selects, as JSON:\n"
    "  aios resolve --json '{\"hardware\": {\"selected_devices\": [\"gpu:0\"], \"precision\": \"32\"}}'\n"
    "Keep a selection, and use it later:\n"
    "  aios resolve --save devices.json cuda:0 hip:0\n"
    "  aios resolve --load devices.json\n";

static const char resolve_notes[] =
    "DEVICE is cpu, gpu:N or N (an ID of aios list-gpus), cuda:N, xpu:N, hip:N, a PCI address, a UUID, a list of these with commas,\n"
    "auto (the first GPU, else the CPU; where AIOS_CUDA_IDS is set, as in 0,1, the CUDA devices of these numbers), or JSON.\n"
    "A selection that makes no sense here is exit code 2 and one sentence.\n";

static const struct flag train_flags[] = {
    {"spawn", NULL, "", "start one process per device (ddp) and look after them; AIOS_DDP_SPAWN=1 does so too"},
};

static const struct flag hrm_hf_flags[] = {
    {"spawn", NULL, "", "start one process per device (ddp) and look after them; AIOS_DDP_SPAWN=1 does so too"},
    {"student-init", "FOLDER", "", "begin with the weights of this model"},
};

static const char train_examples[] = "Train a small model on a text of your own, byte by byte:\n"
                                     "  aios train --dataset-file notes.txt --steps 2000 --save-dir runs/notes\n"
                                     "Go on after a stop, or for longer:\n"
                                     "  aios train --dataset-file notes.txt --steps 4000 --save-dir runs/notes --resume\n"
                                     "Fine-tune GPT-2 from a folder in Hugging Face layout:\n"
                                     "  aios train --model gpt2 --dataset-file notes.txt --lr 5e-5 --batch-size 2 --save-dir runs/tuned\n"
                                     "Learn from a data set of the Hugging Face Hub, which is fetched once:\n"
                                     "  aios train --dataset-file hf://roneneldan/TinyStories:TinyStories --save-dir runs/stories\n"
                                     "Try the result:\n"
                                     "  aios generate --model runs/notes/checkpoints/step-00002000 --prompt 'Once'\n";

static const char train_notes[] =
    "Ctrl-C (or a termination signal) ends the run after its step and saves a checkpoint; a second one does so\n"
    "after the micro-batch; a third one ends at once and saves nothing.\n"
    "Several devices: those of one vendor compute one gradient together (--strategy ddp), those of several\n"
    "train on chunks of their own and are merged (--strategy parallel-independent); there Ctrl-C ends the run\n"
    "after each device's chunk.\n"
    "Several processes: torchrun, mpirun and srun start aios train as they start other programs; --spawn\n"
    "(with --world-size N: N of them) does so itself, the processes' words going to SAVE_DIR/logs. Process 0\n"
    "writes; where another dies, those that are left go on; where process 0 does, --spawn starts all again.\n"
    "Also accepted: --ddp and --parallel-independent (the strategy), --gpu-ids (--devices), --cuda-ids 0,1\n"
    "(cuda:0,cuda:1), --world-size (checked), --linear-dataset (--no-shuffle), --brain-name NAME with\n"
    "--bundle-dir FOLDER (--save-dir FOLDER/NAME; without FOLDER artifacts/brains/actv1).\n";

static const char hrm_hf_examples[] =
    "Train the language model on chunks of a text, on two GPUs that need not be of one make:\n"
    "  aios hrm-hf train-actv1 --parallel-independent --gpu-ids cuda:0,hip:0 --model gpt2 --dataset-file notes.txt --steps 200\n"
    "Two processes, one gradient, metrics in a file of your own:\n"
    "  AIOS_DDP_SPAWN=1 aios hrm-hf train-actv1 --ddp --cuda-ids 0,1 --world-size 2 --model gpt2 --dataset-file notes.txt\n"
    "      --steps 10 --batch-size 4 --halt-max-steps 1 --log-file artifacts/brains/actv1/metrics.jsonl\n"
    "What GPUs are there?\n"
    "  aios hrm-hf list-gpus\n";

static const char hrm_hf_notes[] =
    "train-actv1 is aios train with model-type hrm_actv1: every option, note and file of that command is this one's\n"
    "too.  --model is a folder with a tokenizer, or with a model of this kind, whose weights are then trained on, as\n"
    "those of --student-init FOLDER.  --gradient-checkpointing is on where it is not given.\n";

static const char eval_examples[] = "How well does a checkpoint predict a text that it has not seen?\n"
                                    "  aios eval --model runs/notes/checkpoints/step-00002000 --dataset-file other.txt\n"
                                    "The whole text, as JSON:\n"
                                    "  aios eval --model gpt2 --dataset-file other.txt --eval-batches 0 --json\n"
                                    "Shared by two GPUs; or by each of them alone, to compare them:\n"
                                    "  aios eval --model gpt2 --dataset-file other.txt --eval-batches 0 --devices cuda:0,hip:0\n"
                                    "  aios eval --model gpt2 --dataset-file other.txt --devices cuda:0,hip:0 --sequential\n"
                                    "Which answers does it take for the right ones?\n"
                                    "  aios eval --model gpt2 --task-file questions.jsonl\n";

static const char eval_notes[] =
    "Devices share the text in micro-batches, and the result is the same whoever did what; what one that fails\n"
    "had is done by another.  A line of a task file is {\"context\": \"…\", \"choices\": [\"…\", …], \"answer\": 0}:\n"
    "acc is the part of the questions whose right choice has the greatest log-likelihood, acc_norm that by\n"
    "character (docs/evaluation.md).\n";

static const struct flag estimate_flags[] = {
    {"memory", "SIZE", "", "of each device, as in 24GiB; without: what is free"},
};

static const char estimate_examples[] =
    "What will GPT-2 take of two GPUs, and how large may a micro-batch be?\n"
    "  aios estimate --model gpt2 --devices cuda:0,cuda:1 --strategy ddp --batch-size 8 --max-seq-len 1024\n"
    "The same with its moments, gradients and weights in parts, on GPUs of 24 GiB that need not be in this machine:\n"
    "  aios estimate --model gpt2 --devices cuda:0,cuda:1 --strategy ddp --zero-stage zero3 --memory 24GiB\n";

static const char estimate_notes[] =
    "Takes the options of aios train and nothing of any device.  exchange: buckets of what devices hold in parts;\n"
    "evaluation: on the first device, where eval-file or eval-fraction holds something out; host: memory that the\n"
    "driver pins.  What drivers and vendors' libraries take for themselves comes on top.  With the folder of a\n"
    "Hierarchical Reasoning Model as --model, --batch-size is each device's part of its global-batch-size.\n";

static const char generate_examples[] =
    "Continue a text:\n"
    "  aios generate --model runs/notes/checkpoints/step-00002000 --prompt 'Once upon a time'\n"
    "Three cautious continuations that can be repeated:\n"
    "  aios generate --model gpt2 --prompt 'The sea' --temperature 0.6 --top-k 40 --samples 3 --sample-seed 7\n"
    "A prompt from a file, and many from another, each ended by an empty line:\n"
    "  aios generate --model gpt2 --prompt - < start.txt\n"
    "  aios generate --model gpt2 --prompts prompts.txt --stop $'\\n\\n' --json\n";

static const char generate_notes[] =
    "The prompt \"-\" is read from standard input.  --prompt and --stop may come several times.  Samples of a\n"
    "prompt have the seeds sample-seed, sample-seed + 1, …, whatever other prompts there are.\n";

static const struct flag generate_flags[] = {
    {"prompts", "FILE", "", "a prompt on each line; in a .jsonl file as a JSON text, or an object with \"prompt\""},
    {"stop", "TEXT", "", "end a continuation where the model writes this, which is left out"},
};

static const struct flag chat_flags[] = {
    {"system", "TEXT", "", "what stands before the conversation"},
    {"user", "TEXT", "", "what stands before your words (User:)"},
    {"assistant", "TEXT", "", "what stands before the model's (Assistant:)"},
    {"stop", "TEXT", "", "end an answer where the model writes this too; it ends where your next words would begin"},
};

static const char chat_examples[] = "Talk with a model that was trained on dialogues:\n"
                                    "  aios chat --model runs/dialogues/checkpoints/step-00002000\n"
                                    "In other words, on another device:\n"
                                    "  aios chat --model gpt2 --device cuda:0 --user Q: --assistant A: --system 'Questions and answers.'\n"
                                    "Without a terminal, a turn on each line:\n"
                                    "  aios chat --model gpt2 --json < questions.txt\n";

static const char chat_notes[] =
    "The model sees the conversation as a text: the words before each speaker, what they said, a line each.\n"
    "Where it grows longer than the model's context, the oldest turns are left out.  --prompt is the first turn.\n"
    "/help lists what can be said besides; Ctrl-C ends an answer.\n";

static const char completion_examples[] = "For this shell, and for every later one:\n"
                                          "  source <(aios completion bash)\n"
                                          "  aios completion bash > ~/.local/share/bash-completion/completions/aios\n";

static const char data_examples[] =
    "Fetch a data set of the Hugging Face Hub, tokenize it, and see its samples, blocks and chunks:\n"
    "  aios data text --dataset-file hf://roneneldan/TinyStories:TinyStories --tokenizer gpt2 --max-seq-len 512\n"
    "A thousand small Sudokus to learn from, and others to test with:\n"
    "  aios data sudoku --puzzle-size 4 --output-dir data/sudoku-4x4\n"
    "Hard ones of the public Sudoku-Extreme files, with a thousand forms of each:\n"
    "  aios data sudoku --csv-file train.csv --test-csv-file test.csv --train-count 1000 --augmentations 1000 --output-dir data/extreme\n"
    "Mazes with long ways through them:\n"
    "  aios data maze --puzzle-size 30 --min-path 110 --openings 20 --output-dir data/maze\n"
    "The tasks of ARC-AGI:\n"
    "  aios data arc --training-dir arc/training --evaluation-dir arc/evaluation --augmentations 300 --output-dir data/arc\n";

static const struct flag hrm_flags[] = {
    {"spawn", NULL, "", "train: start one process per device (ddp) and look after them; AIOS_DDP_SPAWN=1 does so too"},
    {"watch", NULL, "", "solve: show the grid after every segment"},
};

static const char hrm_examples[] =
    "Teach a small model to solve 4x4 Sudokus, on two CPU cores in minutes:\n"
    "  aios data sudoku --puzzle-size 4 --train-count 10000 --output-dir data/sudoku-4x4\n"
    "  aios hrm train --data-path data/sudoku-4x4 --hidden-size 64 --num-heads 2 --h-layers 1 --l-layers 1 --pos-encodings learned\n"
    "      --halt-max-steps 2 --global-batch-size 128 --lr 2e-3 --lr-warmup-steps 50 --lr-min-ratio 0.1 --steps 3000 --save-dir "
    "runs/sudoku\n"
    "Go on after a stop, or for longer; and on two devices, whose numbers are one's:\n"
    "  aios hrm train --data-path data/sudoku-4x4 --steps 6000 --save-dir runs/sudoku --resume\n"
    "  aios hrm train --data-path data/sudoku-4x4 --devices cuda:0,hip:0 --strategy ddp --save-dir runs/mixed\n"
    "Ask it:\n"
    "  aios hrm solve --model runs/sudoku/checkpoints/step-00003000 --watch '1... ..3. .4.. ...2'\n"
    "How many of the test puzzles does it solve?\n"
    "  aios hrm eval --model runs/sudoku/checkpoints/step-00003000 --data-path data/sudoku-4x4\n";

static const char hrm_notes[] = "A grid is its cells row by row: digits, and . or 0 for a blank (mazes: # space S G); blanks and line ends "
                                "between are fine, and - reads\n"
                                "it from standard input.  Ctrl-C ends training after its step and saves.  Training in several processes,\n"
                                "and the flags of an earlier program (--ddp, --gpu-ids, --world-size …), are as aios train's.\n";

static const char chunks_examples[] = "How far is a run, and who works on what?\n"
                                      "  aios chunks runs/notes\n"
                                      "A state of an earlier program, as JSON:\n"
                                      "  aios chunks artifacts/brains/actv1/notes/chunk_tracker_state.json --json\n";

static const char chunks_notes[] =
    "STATE is a run's folder, or its chunk_tracker.sqlite or chunk_tracker_state.json.  Nothing is changed.\n";

static const struct flag devices_flags[] = {
    {"weights", NULL, "", "the part of the work that each GPU would be given by its memory and make, before it is measured"},
};

static const struct flag merge_flags[] = {
    {"output", "FOLDER", "", "where the merged model is to be (also -o)"},
    {"weights", "X,…", "", "a number for each checkpoint; without: by the tokens that each was trained on"},
};

static const struct flag report_flags[] = {
    {"output", "FILE", "", "where the page is to be (also -o); - is standard output; without: report.html in RUN_DIR"},
};

static const char report_examples[] = "Look at a run, while it trains or afterwards:\n"
                                      "  aios report runs/notes\n"
                                      "A page to send to somebody, of a log alone:\n"
                                      "  aios report runs/notes/metrics.jsonl -o notes.html\n";

static const char report_notes[] =
    "RUN_DIR is a run's folder (its save-dir), of aios train or aios hrm train, or its metrics.jsonl.  The page is\n"
    "one file that needs nothing else: losses, learning rate, throughput and share of each device, how near all\n"
    "together came to the sum of the parts, when what happened, and the options.\n";

static const char merge_examples[] = "One model out of two runs from the same beginning, by their tokens:\n"
                                     "  aios merge runs/a/checkpoints/step-00001000 runs/b/checkpoints/step-00001000 -o merged\n"
                                     "Three parts of the first, one of the second:\n"
                                     "  aios merge --weights 3,1 a b --output merged\n";

const struct command commands[] = {
    {"train", "train a model, new or loaded", "", 0, AIOS_SCOPE_TRAIN, 0, train_flags, COUNT_OF(train_flags), train_examples, train_notes,
     run_train},
    {"eval", "measure a model on a text or on questions", "", 0, AIOS_SCOPE_EVAL, 0, NULL, 0, eval_examples, eval_notes, run_eval},
    {"estimate", "tell what memory a run will take of each device", "", 0, AIOS_SCOPE_TRAIN, 0, estimate_flags, COUNT_OF(estimate_flags),
     estimate_examples, estimate_notes, run_estimate},
    {"generate", "let a model continue a text", "", 0, AIOS_SCOPE_GENERATE, 0, generate_flags, COUNT_OF(generate_flags), generate_examples,
     generate_notes, run_generate},
    {"chat", "talk with a model", "", 0, AIOS_SCOPE_GENERATE, 0, chat_flags, COUNT_OF(chat_flags), chat_examples, chat_notes, run_chat},
    {"data", "make a text ready, make or convert puzzles", "text|sudoku|maze|arc", 1, AIOS_SCOPE_DATA, 0, NULL, 0, data_examples, NULL,
     run_data},
    {"hrm", "train, measure and ask the Hierarchical Reasoning Model", "train|eval|solve [GRID]", 2, AIOS_SCOPE_HRM, 0, hrm_flags,
     COUNT_OF(hrm_flags), hrm_examples, hrm_notes, run_hrm},
    {"hrm-hf", "train the Hierarchical Reasoning Model on texts", "train-actv1|list-gpus", 1, AIOS_SCOPE_TRAIN, 0, hrm_hf_flags,
     COUNT_OF(hrm_hf_flags), hrm_hf_examples, hrm_hf_notes, run_hrm_hf},
    {"devices", "list every device, the CPU included", "", 0, 0, 0, devices_flags, COUNT_OF(devices_flags), NULL, NULL, run_devices},
    {"list-gpus", "list the GPUs, or why there are none", "", 0, 0, 0, NULL, 0, NULL, NULL, run_list_gpus},
    {"resolve", "tell how a run would use the devices that are named", "DEVICE…", TOOL_ARGUMENTS_MOST, 0, 0, resolve_flags,
     COUNT_OF(resolve_flags), resolve_examples, resolve_notes, run_resolve},
    {"doctor", "tell what this machine offers and what is missing", "", 0, 0, 0, NULL, 0, NULL, NULL, run_doctor},
    {"merge", "make one model of several checkpoints", "FOLDER…", TOOL_ARGUMENTS_MOST, 0, 0, merge_flags, COUNT_OF(merge_flags),
     merge_examples, NULL, run_merge},
    {"report", "draw a run as a page of HTML", "RUN_DIR", 1, 0, 0, report_flags, COUNT_OF(report_flags), report_examples, report_notes,
     run_report},
    {"chunks", "tell how far a dataset is trained", "STATE", 1, 0, 0, NULL, 0, chunks_examples, chunks_notes, run_chunks},
    {"options", "list every option of the commands", "", 0, 0, 0, options_flags, COUNT_OF(options_flags), NULL, NULL, run_options},
    {"completion", "print a script that completes aios in a shell", "bash", 1, 0, 1, NULL, 0, completion_examples, NULL, run_completion},
    {"version", "print the version", "", 0, 0, 0, NULL, 0, NULL, NULL, run_version},
    {"help", "describe aios or one command", "[COMMAND]", 1, 0, 1, help_flags, COUNT_OF(help_flags), NULL, NULL, run_help},
};
const int command_count = COUNT_OF(commands);

const struct command *command_find(const char *name)
{
    for (int i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}
