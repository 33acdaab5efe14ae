// Gloo's own ring all-reduce between processes on the loopback interface: the peer of benchmark_collectives.
//
//   benchmark_gloo [RANKS] [MEGABYTES]
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

namespace
{

// Releases differ in what the store is handed over as.
template <typename Context, typename Store, typename Device>
auto connect(Context &context, const std::shared_ptr<Store> &store, Device &device, int) -> decltype(context.connectFullMesh(store, device))
{
    context.connectFullMesh(store, device);
}
template <typename Context, typename Store, typename Device>
auto connect(Context &context, const std::shared_ptr<Store> &store, Device &device, long)
    -> decltype(context.connectFullMesh(*store, device))
{
    context.connectFullMesh(*store, device);
}

void run(int rank, int ranks, size_t bytes, const char *folder)
{
    const int runs = 15;
    gloo::transport::tcp::attr attr("127.0.0.1");
    auto device = gloo::transport::tcp::CreateDevice(attr);
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
    connect(*context, std::make_shared<gloo::rendezvous::FileStore>(folder), device, 0);
    std::vector<float> buffer(bytes / sizeof(float));
    std::vector<double> times;
    for (int n = -2; n < runs; n++) {
        gloo::BarrierOptions barrier(context);
        gloo::barrier(barrier);
        const auto began = std::chrono::steady_clock::now();
        gloo::AllreduceOptions options(context);
        options.setOutput(buffer.data(), buffer.size());
        options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
        options.setReduceFunction(static_cast<void (*)(void *, const void *, const void *, size_t)>(&gloo::sum<float>));
        gloo::allreduce(options);
        gloo::barrier(barrier);
        if (n >= 0) times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    }
    std::sort(times.begin(), times.end());
    if (rank == 0)
        std::printf("Gloo, ring all-reduce, %d processes, %zu MiB: %.2f GB/s\n", ranks, bytes >> 20,
                    static_cast<double>(bytes) / times[runs / 2] * 1e-9);
    std::fflush(stdout);
    gloo::BarrierOptions last(context);
    gloo::barrier(last);
}

} // namespace

int main(int argc, char **argv)
{
    const int ranks = argc > 1 ? std::atoi(argv[1]) : 2;
    const size_t bytes = static_cast<size_t>(argc > 2 ? std::atoi(argv[2]) : 64) << 20;
    char folder[] = "/tmp/benchmark_gloo.XXXXXX";
    if (ranks < 2 || !bytes || !mkdtemp(folder)) return 2;
    for (int r = 0; r < ranks; r++) {
        if (fork() > 0) continue;
        run(r, ranks, bytes, folder);
        _exit(0);
    }
    while (wait(nullptr) > 0) {
    }
    return execlp("rm", "rm", "-r", folder, static_cast<char *>(nullptr));
}
