#!/usr/bin/env python3
"""A model of your own on libaios, from recording to accuracy, in one file; no other package is needed.

The task: eight digits go in, the same digits come out sorted.  Every position has to know all the others, so the model is a transformer
without a mask: each block lets the positions look at each other (attention), then thinks about each (SwiGLU).

    custom_model.py [DEVICE]            cpu, cuda:0, hip:0, xpu:0"""
import random
import sys
from typing import List, Tuple

import aios

BATCH, LENGTH, DIGITS, WIDTH, HEADS, BLOCKS, STEPS = 64, 8, 10, 48, 4, 2, 500


def record() -> aios.Graph:
    """Recording computes nothing: it says what is to be computed, and the library finds the gradients, the memory and the order.  A mistake
    (say, shapes that don't fit) is raised by the line that makes it."""
    g = aios.Graph()

    def linear(x: aios.Tensor, name: str, inner: int, outer: int) -> aios.Tensor:
        """A matrix product with a weight (out, in), as torch.nn.Linear."""
        return g.linear(x, g.parameter(name, [outer, inner], init="truncated_normal", scale=0.14))

    table = g.parameter("digits.table", [DIGITS, WIDTH], scale=1.0, group="no_decay")
    places = g.parameter("places", [LENGTH, WIDTH], scale=1.0, group="no_decay")
    x = g.embedding(table, g.input("digits", [BATCH, LENGTH])) + places  # (BATCH, LENGTH, WIDTH)
    for i in range(BLOCKS):
        h = linear(g.rmsnorm(x), f"block{i}.qkv", WIDTH, 3 * WIDTH)
        x = x + linear(g.attention(h, heads=HEADS), f"block{i}.mix", WIDTH, WIDTH)
        h = linear(g.rmsnorm(x), f"block{i}.up", WIDTH, 4 * WIDTH)
        x = x + linear(g.swiglu(h), f"block{i}.down", 2 * WIDTH, WIDTH)
    logits = linear(g.rmsnorm(x), "head", WIDTH, DIGITS)
    g.output("logits", logits)
    g.cross_entropy(logits, g.input("sorted", [BATCH, LENGTH]))
    return g.finish()


def batch() -> Tuple[List[List[int]], List[List[int]]]:
    digits = [random.choices(range(DIGITS), k=LENGTH) for _ in range(BATCH)]
    return digits, [sorted(row) for row in digits]


def main() -> int:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    random.seed(42)
    graph = record()
    parameters = aios.Parameters(device, graph).initialize(seed=42)  # weights, gradients and moments live on the device
    training, testing = aios.Plan(graph, parameters, training=True), aios.Plan(graph, parameters)
    optimizer = aios.Optimizer(parameters, "adamw")
    for step in range(1, STEPS + 1):
        digits, ordered = batch()
        optimizer.begin(lr=3e-3 * (STEPS - step + 1) / STEPS, weight=BATCH * LENGTH)  # the rate falls; the loss is a mean
        training.run(digits=digits, sorted=ordered)
        optimizer.step()
        if step % 50 == 0:  # reading waits for the device, so not in every step
            losses = training.losses()
            print(f"step {step:3d}  loss {losses.loss:.4f}  digits in place {losses.accuracy:.2%}")
    for _ in range(50):  # numbers that it was not trained on
        digits, ordered = batch()
        testing.run(digits=digits, sorted=ordered)
    accuracy = testing.losses().accuracy
    scores = testing.read("logits").tolist()[-1]
    print(digits[-1], "->", [row.index(max(row)) for row in scores], f"accuracy on new numbers: {accuracy:.2%}")
    return 0 if accuracy > 0.99 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except aios.Error as error:
        sys.exit(f"{error.status}: {error}")
