/* record.h (internal): what recording an operation is made of (graph.c). */
#ifndef AIOS_GRAPH_RECORD_H
#define AIOS_GRAPH_RECORD_H

#include "graph.h"

/* Keeps the record that was just set as the graph's first mistake.  Returns 0. */
aios_tensor keep_mistake(aios_graph *graph);
#define MISTAKE(graph, ...) (FAIL(__VA_ARGS__), keep_mistake(graph))

/* 0, with a mistake where it is a new one, when nothing can be added. */
int usable(aios_graph *graph, const char *call);
/* NULL and a mistake where x is no tensor of the graph. */
const struct tensor *operand(aios_graph *graph, const char *call, const char *what, aios_tensor x);
/* An activation operand: a number tensor of the caller is converted to the storage type first. */
aios_tensor activation(aios_graph *graph, const char *call, const char *what, aios_tensor x);
/* A parameter (or whole rows of one) with exactly this many elements (-1: any), else a mistake. */
int parameter(aios_graph *graph, const char *call, const char *what, aios_tensor x, int64_t count);

/* The tensor that the node makes; tensors may move. */
aios_tensor add_node(aios_graph *graph, struct node *node, int32_t type, const int32_t *shape, int32_t rank);
/* The losses of rows are there to be looked at; what flows back starts at the loss itself. */
aios_tensor add_loss(aios_graph *graph, struct node *node, const struct tensor *shape);

#endif
