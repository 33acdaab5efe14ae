/* Samples to blocks and chunks, and back. */
#include "tracker.h"

int64_t grid_chunks_per_block(const chunk_grid *grid)
{
    return (grid->block + grid->chunk - 1) / grid->chunk;
}

int64_t grid_chunk_end(const chunk_grid *grid, int64_t sample)
{
    int64_t block = sample / grid->block * grid->block;
    int64_t in_block = (sample - block) / grid->chunk * grid->chunk + grid->chunk;
    int64_t end = block + (in_block < grid->block ? in_block : grid->block);
    return grid->total && end > grid->total ? grid->total : end;
}

int64_t grid_chunk_of(const chunk_grid *grid, int64_t sample)
{
    return sample / grid->block * grid_chunks_per_block(grid) + sample % grid->block / grid->chunk;
}

int64_t grid_chunk_first(const chunk_grid *grid, int64_t chunk)
{
    int64_t per_block = grid_chunks_per_block(grid);
    return chunk / per_block * grid->block + chunk % per_block * grid->chunk;
}

int64_t grid_blocks_before(const chunk_grid *grid, int64_t sample)
{
    return sample / grid->block + (sample % grid->block != 0);
}

int64_t grid_chunks_before(const chunk_grid *grid, int64_t sample)
{
    return sample == 0 ? 0 : grid_chunk_of(grid, sample - 1) + 1;
}
