/* pytorch.h: reading tests/reference/pytorch_*.json. */
#ifndef AIOS_TEST_PYTORCH_H
#define AIOS_TEST_PYTORCH_H

#include "test.h"

#include <jansson.h>

/* A file of tests/reference; json_decref ends it.  Anything that is missing fails the test, by name. */
json_t *pytorch_open(const char *file);
json_t *pytorch_get(const json_t *object, const char *key);
double pytorch_number(const json_t *object, const char *key);

/* The entry of "tensors" with that number: its name and shape, and its values by the fill rule (count of them). */
const char *pytorch_tensor(const json_t *document, size_t number, int32_t shape[2], int32_t *rank, size_t *count);
void pytorch_fill(const json_t *document, size_t number, float *to);

/* An array of arrays of integers, flattened. */
void pytorch_integers(const json_t *document, const char *key, int32_t *to, size_t count);
void pytorch_numbers(const json_t *document, const char *key, double *to, size_t count);

/* Compares a summary's entries within `tolerance` of the largest of them, and its sum of squares within the same part of it
 * where `squares` is 1. */
void pytorch_compare(const json_t *summaries, const char *name, const float *got, size_t count, double tolerance, int squares);

#endif
