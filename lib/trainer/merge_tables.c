#include "merge_tables.h"

#include <string.h>

static const aios_parameters *parameters_of(const struct crew *crew)
{
    return leader(crew->t)->parameters;
}

static aios_status alloc_tables(struct crew *crew, float ***tables)
{
    const aios_parameters *p = parameters_of(crew);
    *tables = aios_memory_array(crew->t->context, p->count, sizeof **tables);
    if (!*tables) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < p->count; i++) {
        if (!p->list[i].is_table) continue;
        (*tables)[i] = aios_memory_array(crew->t->context, p->list[i].count, sizeof ***tables);
        if (!(*tables)[i]) return AIOS_OUT_OF_MEMORY;
    }
    return AIOS_OK;
}

static void free_tables(struct crew *crew, float **tables)
{
    const aios_parameters *p = parameters_of(crew);
    for (size_t i = 0; tables && i < p->count; i++) aios_memory_free(crew->t->context, tables[i]);
    aios_memory_free(crew->t->context, tables);
}

static aios_status read_tables(struct replica *r, float **tables)
{
    aios_parameters *p = r->parameters;
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].is_table) TRY_QUIET(aios_parameters_read(p, p->list[i].name, AIOS_VALUE, tables[i], p->list[i].count));
    return AIOS_OK;
}

static aios_status write_tables(struct replica *r, float **tables)
{
    aios_parameters *p = r->parameters;
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].is_table) TRY_QUIET(aios_parameters_write(p, p->list[i].name, AIOS_VALUE, tables[i], p->list[i].count));
    return AIOS_OK;
}

aios_status merge_tables_open(struct crew *crew)
{
    if (!parameters_of(crew)->has_tables) return AIOS_OK;
    TRY_QUIET(alloc_tables(crew, &crew->table_anchors));
    for (int i = 0; i < crew->count; i++) TRY_QUIET(alloc_tables(crew, &crew->list[i].tables));
    TRY_QUIET(aios_device_set_current(leader(crew->t)->device));
    return read_tables(leader(crew->t), crew->table_anchors);
}

void merge_tables_close(struct crew *crew)
{
    for (int i = 0; crew->list && i < crew->count; i++) free_tables(crew, crew->list[i].tables);
    free_tables(crew, crew->table_anchors);
    crew->table_anchors = NULL;
}

/* The row of `anchor` becomes that of those who changed it. */
static void merge_row(const struct crew *crew, size_t table, uint64_t at, int32_t n, float *anchor)
{
    double total = 0, parts[REPLICAS_MOST] = {0};
    for (int i = 0; i < crew->count; i++) {
        const struct worker *w = &crew->list[i];
        if (!w->live || !w->gave || memcmp(w->tables[table] + at, anchor, (size_t)n * sizeof *anchor) == 0) continue;
        parts[i] = (double)w->fresh_tokens;
        total += parts[i];
    }
    if (!(total > 0)) return;
    for (int32_t k = 0; k < n; k++) {
        double sum = 0;
        for (int i = 0; i < crew->count; i++)
            if (parts[i] > 0) sum += parts[i] / total * (double)crew->list[i].tables[table][at + (uint64_t)k];
        anchor[k] = (float)sum;
    }
}

/* One worker, while the others wait. */
static aios_status merge_all(struct worker *caller)
{
    struct crew *crew = caller->crew;
    const aios_parameters *p = parameters_of(crew);
    crew_lock(crew);
    for (size_t i = 0; i < p->count; i++) {
        const struct parameter *x = &p->list[i];
        for (int32_t row = 0; x->is_table && row < x->shape[0]; row++) {
            uint64_t at = (uint64_t)row * (uint64_t)x->shape[1];
            merge_row(crew, i, at, x->shape[1], crew->table_anchors[i] + at);
        }
    }
    crew_unlock(crew);
    return AIOS_OK;
}

aios_status merge_tables(struct worker *w)
{
    if (!w->crew->table_anchors) return AIOS_OK;
    TRY(read_tables(w->replica, w->tables), "reading the rows of %s to merge them", w->owner);
    TRY_QUIET(crew_barrier(w));
    TRY_QUIET(crew_once(w, merge_all));
    TRY(write_tables(w->replica, w->crew->table_anchors), "giving the merged rows to %s", w->owner);
    return crew_barrier(w);
}
