/* MPI_Allreduce: the peer of benchmark_collectives.
 *
 *   mpirun -np 2 build/release/bin/benchmark_mpi [MEGABYTES]                     through shared memory, as MPI chooses on one host
 *   mpirun -np 2 --mca btl tcp,self build/release/bin/benchmark_mpi [MEGABYTES]  through the loopback interface, as between hosts
 */
#include "bench.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNS 15

int main(int argc, char **argv)
{
    int rank, ranks, megabytes = argc > 1 ? atoi(argv[1]) : 64;
    double times[RUNS];
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS || megabytes < 1) return 2;
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    (void)MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int count = megabytes << 18;
    float *buffer = calloc((size_t)count, sizeof *buffer);
    if (!buffer) return 1;
    for (int n = -2; n < RUNS; n++) {
        (void)MPI_Barrier(MPI_COMM_WORLD);
        double began = bench_now();
        (void)MPI_Allreduce(MPI_IN_PLACE, buffer, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        (void)MPI_Barrier(MPI_COMM_WORLD);
        if (n >= 0) times[n] = bench_now() - began;
    }
    bench_sort(times, RUNS);
    if (rank == 0)
        printf("MPI_Allreduce, %d processes, %d MiB: %.2f GB/s\n", ranks, megabytes,
               (double)count * sizeof(float) / times[RUNS / 2] * 1e-9);
    free(buffer);
    return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
