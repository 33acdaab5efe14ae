// The engine of communicators between processes, on Gloo's TCP transport: its pairs and unbound buffers.  How sums are made is libaios's.
#include "engine.h"

#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

struct engine_mesh {
    std::shared_ptr<gloo::transport::Device> device;
    std::shared_ptr<gloo::transport::Context> context;
};

struct engine_buffer {
    std::unique_ptr<gloo::transport::UnboundBuffer> memory;
};

namespace
{

// Gloo writes to sockets without MSG_NOSIGNAL: a peer that is gone must not end the host's process.
class NoPipeSignal
{
  public:
    NoPipeSignal()
    {
        sigset_t pending;
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        sigpending(&pending);
        pending_ = sigismember(&pending, SIGPIPE) == 1;
        pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    ~NoPipeSignal()
    {
        const struct timespec now = {0, 0};
        if (!pending_) sigtimedwait(&pipe_, nullptr, &now);
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    NoPipeSignal(const NoPipeSignal &) = delete;
    NoPipeSignal &operator=(const NoPipeSignal &) = delete;

  private:
    sigset_t pipe_, before_;
    bool pending_;
};

// Threads that are started meanwhile take no signal: the host's handlers run on the host's threads.
class NoSignals
{
  public:
    NoSignals()
    {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~NoSignals()
    {
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    NoSignals(const NoSignals &) = delete;
    NoSignals &operator=(const NoSignals &) = delete;

  private:
    sigset_t before_;
};

// The system resets a connection that is closed with bytes unread.
int tell(engine_error *error, const char *text)
{
    std::snprintf(error->text, sizeof error->text, "%s", text);
    const bool closed = std::strstr(text, "Connection closed by peer") || std::strstr(text, std::strerror(ECONNRESET));
    return closed ? ENGINE_CLOSED : ENGINE_FAILED;
}

template <typename Call> int guard(engine_error *error, Call call)
{
    try {
        NoPipeSignal quiet;
        return call();
    } catch (const std::exception &e) {
        return tell(error, e.what());
    } catch (...) {
        return tell(error, "an exception of no known kind");
    }
}

std::chrono::milliseconds milliseconds(double seconds)
{
    const double most = 365.0 * 24 * 3600; // for ever
    return std::chrono::milliseconds(static_cast<long>((seconds > 0 && seconds < most ? seconds : most) * 1e3) + 1);
}

int open_mesh(const char *address, int rank, int ranks, double seconds, engine_mesh **mesh, engine_error *error)
{
    *mesh = nullptr;
    return guard(error, [&] {
        NoSignals quiet;
        std::unique_ptr<engine_mesh> made(new engine_mesh);
        gloo::transport::tcp::attr attr(address);
        made->device = gloo::transport::tcp::CreateDevice(attr);
        made->context = made->device->createContext(rank, ranks);
        made->context->setTimeout(milliseconds(seconds));
        for (int peer = 0; peer < ranks; peer++)
            if (peer != rank) made->context->createPair(peer);
        *mesh = made.release();
        return ENGINE_DONE;
    });
}

int get_address(engine_mesh *mesh, int peer, void *bytes, size_t *size, engine_error *error)
{
    return guard(error, [&]() -> int {
        const std::vector<char> address = mesh->context->getPair(peer)->address().bytes();
        if (address.size() > ENGINE_ADDRESS_MOST) return tell(error, "Gloo's addresses have more bytes than are foreseen");
        std::memcpy(bytes, address.data(), address.size());
        *size = address.size();
        return ENGINE_DONE;
    });
}

int connect_peer(engine_mesh *mesh, int peer, const void *bytes, size_t size, engine_error *error)
{
    return guard(error, [&] {
        const char *from = static_cast<const char *>(bytes);
        mesh->context->getPair(peer)->connect(std::vector<char>(from, from + size));
        return ENGINE_DONE;
    });
}

void close_mesh(engine_mesh *mesh)
{
    engine_error ignored;
    guard(&ignored, [&] {
        delete mesh;
        return ENGINE_DONE;
    });
}

int create_buffer(engine_mesh *mesh, void *memory, size_t bytes, engine_buffer **buffer, engine_error *error)
{
    *buffer = nullptr;
    return guard(error, [&] {
        std::unique_ptr<engine_buffer> made(new engine_buffer);
        made->memory = mesh->context->createUnboundBuffer(memory, bytes);
        *buffer = made.release();
        return ENGINE_DONE;
    });
}

void destroy_buffer(engine_buffer *buffer)
{
    engine_error ignored;
    guard(&ignored, [&] {
        delete buffer;
        return ENGINE_DONE;
    });
}

int send_bytes(engine_buffer *buffer, int peer, uint64_t slot, size_t offset, size_t bytes, engine_error *error)
{
    return guard(error, [&] {
        buffer->memory->send(peer, slot, offset, bytes);
        return ENGINE_DONE;
    });
}

int receive_bytes(engine_buffer *buffer, int peer, uint64_t slot, size_t offset, size_t bytes, engine_error *error)
{
    return guard(error, [&] {
        buffer->memory->recv(peer, slot, offset, bytes);
        return ENGINE_DONE;
    });
}

int wait_sent(engine_buffer *buffer, double seconds, engine_error *error)
{
    return guard(error, [&] { return buffer->memory->waitSend(milliseconds(seconds)) ? ENGINE_DONE : ENGINE_INTERRUPTED; });
}

int wait_received(engine_buffer *buffer, double seconds, engine_error *error)
{
    return guard(error, [&] { return buffer->memory->waitRecv(milliseconds(seconds)) ? ENGINE_DONE : ENGINE_INTERRUPTED; });
}

void interrupt(engine_buffer *buffer)
{
    engine_error ignored;
    guard(&ignored, [&] {
        buffer->memory->abortWaitSend();
        buffer->memory->abortWaitRecv();
        return ENGINE_DONE;
    });
}

const engine_table table = {ENGINE_VERSION, open_mesh,  get_address,   connect_peer, close_mesh,    create_buffer,
                            destroy_buffer, send_bytes, receive_bytes, wait_sent,    wait_received, interrupt};

} // namespace

extern "C" __attribute__((visibility("default"))) const engine_table *aios_engine_query(void)
{
    return &table;
}
