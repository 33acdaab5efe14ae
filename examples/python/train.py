#!/usr/bin/env python3
"""Trains a small GPT-2 on a text file on every GPU of the machine, or on the CPU, and continues a prompt with what it has learned.

    train.py TEXT-FILE RUN-FOLDER STEPS

Ctrl-C saves a checkpoint; the same command then goes on from there."""
import sys

import aios


def main() -> int:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    text, folder, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])

    gpus = [device.word for device in aios.devices().gpus]
    hardware = aios.resolve(gpus or ["cpu"], batch_size=8)
    print(f"{hardware.accelerator} {hardware.specs}, strategy {hardware.strategy}")
    for sentence in (*hardware.notes, *hardware.warning_messages):
        print(sentence)

    trainer = aios.Trainer(dataset_file=text, save_dir=folder, resume=True, steps=steps, devices=hardware.specs, batch_size=8, n_layer=2, n_head=2,
                           n_embd=64, max_seq_len=64, lr=3e-3, progress=True)

    @trainer.on("eval")
    def evaluated(event: aios.Event) -> None:
        print(f"held-out text: {event.loss:.3f} nats per token, {event.accuracy:.1%} of the next tokens")

    result = trainer.run()  # blocks; the GIL is free
    print(f"{result.outcome} at step {result.step}: loss {result.loss:.3f}, checkpoint {result.checkpoint}")
    if result.stopped:
        return 130

    with aios.Generator(model=aios.load(folder), max_tokens=100) as generator:
        print("The ", end="")
        for piece in generator.stream("The ", seed=1):
            print(piece, end="", flush=True)
        print()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except aios.Error as error:
        sys.exit(f"{error.status}: {error}")
