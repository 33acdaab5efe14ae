/* base.hpp: what aios.hpp stands on: the exception, text and arrays on their way into C, the owner of a handle, and how exceptions of
 * callbacks pass C frames. */
#ifndef AIOS_BASE_HPP
#define AIOS_BASE_HPP

#include <aios/aios.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if __cplusplus < 201703L
#error "libaios in C++ needs C++17 (-std=c++17)"
#endif

namespace aios
{

/* ---- errors ------------------------------------------------------------------------------------------------------ */

class error : public std::runtime_error
{
  public:
    error(aios_status status, const std::string &message, std::string backend = "", std::int64_t native = 0)
        : std::runtime_error(message), status_(status), backend_(std::move(backend)), native_(native)
    {
    }
    aios_status status() const noexcept { return status_; } /* AIOS_NOT_FOUND … */
    const char *name() const noexcept { return aios_status_name(status_); }
    const std::string &backend() const noexcept { return backend_; } /* "cuda" where a device failed, else "" */
    std::int64_t native_code() const noexcept { return native_; }    /* of the backend */

  private:
    aios_status status_;
    std::string backend_;
    std::int64_t native_;
};

/* Throws the calling thread's last error where status is one. */
inline void check(aios_status status)
{
    if (status != AIOS_OK) throw error(status, aios_error_message(), aios_error_backend(), aios_error_native_code());
}

inline std::string_view version()
{
    return aios_version();
}

/* ---- text and arrays on their way into C ------------------------------------------------------------------------- */

/* Text with a 0 behind it; copied only where it has none.  nullptr is no text. */
class text
{
  public:
    text(const char *s) : at_(s) {}
    text(const std::string &s) : at_(s.c_str()) { refuse_zeros(s); }
    text(std::string_view s) : copy_(s), at_(copy_.c_str()) { refuse_zeros(s); }
    text(const text &) = delete;
    text &operator=(const text &) = delete;
    const char *c_str() const noexcept { return at_; }

  private:
    static void refuse_zeros(std::string_view s)
    {
        const std::size_t zero = s.find('\0');
        if (zero != s.npos) throw error(AIOS_INVALID_ARGUMENT, "text with a zero byte at " + std::to_string(zero) + ": it must have none");
    }
    std::string copy_;
    const char *at_;
};

/* Elements that lie one behind the other and belong to somebody else: std::vector, std::array, T[n], or a pointer and a size. */
template <class T> class span
{
  public:
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class C, class = std::enable_if_t<!std::is_same_v<std::decay_t<C>, span> &&
                                                std::is_convertible_v<decltype(std::data(std::declval<C &>())), T *>>>
    constexpr span(C &&c) noexcept : data_(std::data(c)), size_(std::size(c))
    {
    }
    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail
{

/* What a context's callbacks need, kept by everything that was made from it: the C library may call until the last of them is gone. */
class host
{
  public:
    std::function<void(std::string_view, std::string_view)> event;
    std::function<void(int, std::string_view)> log;

    /* Runs a callback; keeps what it throws. */
    template <class F> void guard(F &&callback) noexcept
    {
        try {
            callback();
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!thrown_) thrown_ = std::current_exception();
            for (aios_trainer *trainer : running_) aios_trainer_stop(trainer, AIOS_STOP_IMMEDIATE);
        }
    }
    /* After every call: throws what a callback threw, else what the call says. */
    void finish(aios_status status)
    {
        rethrow();
        check(status);
    }
    void rethrow()
    {
        std::exception_ptr thrown;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            std::swap(thrown, thrown_);
        }
        if (thrown) std::rethrow_exception(thrown);
    }
    /* The trainer runs from here to the end of the object's life. */
    class running
    {
      public:
        running(host &of, aios_trainer *trainer) : of_(of), trainer_(trainer)
        {
            const std::lock_guard<std::mutex> lock(of_.mutex_);
            of_.running_.push_back(trainer);
        }
        ~running()
        {
            const std::lock_guard<std::mutex> lock(of_.mutex_);
            of_.running_.erase(std::find(of_.running_.begin(), of_.running_.end(), trainer_));
        }
        running(const running &) = delete;
        running &operator=(const running &) = delete;

      private:
        host &of_;
        aios_trainer *trainer_;
    };

  private:
    std::mutex mutex_;
    std::exception_ptr thrown_;
    std::vector<aios_trainer *> running_;
};

template <class T, void (*End)(T *)> class handle;
template <class T, void (*End)(T *)> const std::shared_ptr<host> &host_of(const handle<T, End> &of) noexcept;

/* A C handle that ends with the object. */
template <class T, void (*End)(T *)> class handle
{
  public:
    T *get() const noexcept { return at_.get(); }
    explicit operator bool() const noexcept { return at_ != nullptr; }

    handle(handle &&) noexcept = default;
    handle &operator=(handle &&other) noexcept
    {
        if (this != &other) {
            at_ = std::move(other.at_); /* ends the old handle, while its host is there */
            host_ = std::move(other.host_);
        }
        return *this;
    }

  protected:
    explicit handle(std::shared_ptr<host> host) : host_(std::move(host)) {}
    /* Made by the C function create(arguments…, T **). */
    template <class U, void (*E)(U *), class F, class... A> handle(const handle<U, E> &of, F *create, A... arguments) : host_(host_of(of))
    {
        make(create, arguments...);
    }
    ~handle() = default;

    template <class F, class... A> void make(F *create, A... arguments)
    {
        T *made = nullptr;
        const aios_status status = create(arguments..., &made);
        at_.reset(made);
        host_->finish(status);
    }
    void call(aios_status status) const { host_->finish(status); }

    struct end {
        void operator()(T *at) const noexcept { End(at); }
    };
    std::shared_ptr<host> host_; /* before the handle: it outlives it */
    std::unique_ptr<T, end> at_;

    template <class U, void (*E)(U *)> friend const std::shared_ptr<host> &host_of(const handle<U, E> &of) noexcept;
};

template <class U, void (*E)(U *)> const std::shared_ptr<host> &host_of(const handle<U, E> &of) noexcept
{
    return of.host_;
}

/* for (const aios_device_entry &entry : devices): a list by its size() and operator[]. */
template <class List> class iterator
{
  public:
    iterator(const List *list, std::uint32_t index) : list_(list), index_(index) {}
    decltype(auto) operator*() const { return (*list_)[index_]; }
    iterator &operator++()
    {
        ++index_;
        return *this;
    }
    bool operator!=(const iterator &other) const { return index_ != other.index_; }

  private:
    const List *list_;
    std::uint32_t index_;
};

/* A callback of one call: what it throws is thrown again after the call. */
template <class F> class caller
{
  public:
    explicit caller(F &callback) : callback_(callback) {}
    /* Non-zero, which ends the call, where the callable returns false or throws. */
    template <class... A> std::int32_t operator()(A &&...arguments) noexcept
    {
        try {
            if constexpr (std::is_void_v<std::invoke_result_t<F &, A...>>) {
                callback_(std::forward<A>(arguments)...);
                return 0;
            } else {
                return callback_(std::forward<A>(arguments)...) ? 0 : 1;
            }
        } catch (...) {
            thrown_ = std::current_exception();
            return 1;
        }
    }
    void rethrow() const
    {
        if (thrown_) std::rethrow_exception(thrown_);
    }

  private:
    F &callback_;
    std::exception_ptr thrown_;
};

/* A structure of the ABI with its size set and all else 0. */
template <class S> S sized()
{
    S s{};
    s.struct_size = static_cast<std::uint32_t>(sizeof s);
    return s;
}

} // namespace detail

} // namespace aios

#endif
