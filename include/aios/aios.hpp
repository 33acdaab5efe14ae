/* aios.hpp: libaios in C++17.  Header only, over the C functions of aios.h; what a call does and which errors it has is told there.
 *
 *     aios::context context;
 *     aios::options options(context, AIOS_SCOPE_TRAIN, {{"dataset-file", "notes.txt"}, {"steps", 100}, {"lr", 3e-3}});
 *     aios::trainer(context, options).run();
 *
 * Handles are objects that can be moved and not copied; what an object was made from may be destroyed before it, but parameters, which
 * must outlive their plans and optimizers.  get() is the C handle, for the functions that have no method here.  A failure is an
 * aios::error with the library's sentence and status.  Text goes in as const char *, std::string or std::string_view; arrays as whatever
 * has data() and size(); both are borrowed for the call.  What comes back as std::string_view or pointer is borrowed from the object.
 *
 * Callbacks are any callable.  One that throws does no harm: the exception is kept while it passes the C frames, training in the
 * context stops, and the call that the callback was made from throws it.  Of several calls at once in one context the first that ends
 * does.  Threads: as in C. */
#ifndef AIOS_AIOS_HPP
#define AIOS_AIOS_HPP

#include <aios/base.hpp>

#include <initializer_list>
#include <limits>
#include <variant>

namespace aios
{

/* ---- context ----------------------------------------------------------------------------------------------------- */

struct context_settings {
    std::function<void(std::string_view name, std::string_view json)> event;
    std::function<void(int level, std::string_view message)> log;
    int log_level = AIOS_LOG_INFO;
    double device_deadline = 0;                /* as aios_context_options */
    const aios_allocator *allocator = nullptr; /* copied */
};

class context : public detail::handle<aios_context, aios_context_destroy>
{
  public:
    context() : context(context_settings{}) {}
    explicit context(context_settings settings) : handle(std::make_shared<detail::host>())
    {
        aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
        options.log_level = settings.log_level;
        options.device_deadline = settings.device_deadline;
        options.allocator = settings.allocator;
        host_->event = std::move(settings.event);
        host_->log = std::move(settings.log);
        options.event_user = options.log_user = host_.get();
        if (host_->event)
            options.event = [](void *user, const char *name, const char *json) {
                auto *of = static_cast<detail::host *>(user);
                of->guard([&] { of->event(name, json); });
            };
        if (host_->log)
            options.log = [](void *user, std::int32_t level, const char *message) {
                auto *of = static_cast<detail::host *>(user);
                of->guard([&] { of->log(level, message); });
            };
        make(aios_context_create, &options);
    }
};

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* What an option is set to: true, 8, 3e-4, "bf16-mixed". */
class value
{
  public:
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> value(T v)
    {
        if constexpr (std::is_same_v<T, bool>) {
            as_ = v;
        } else if constexpr (std::is_floating_point_v<T>) {
            as_ = static_cast<double>(v);
        } else if constexpr (std::is_unsigned_v<T> && sizeof(T) >= sizeof(std::int64_t)) {
            if (v <= static_cast<T>(std::numeric_limits<std::int64_t>::max()))
                as_ = static_cast<std::int64_t>(v);
            else
                as_ = std::to_string(v);
        } else {
            as_ = static_cast<std::int64_t>(v);
        }
    }
    value(const char *v) : as_(std::string(v)) {}
    value(std::string v) : as_(std::move(v)) {}
    value(std::string_view v) : as_(std::string(v)) {}

  private:
    friend class options;
    std::variant<bool, std::int64_t, double, std::string> as_;
};

class options : public detail::handle<aios_options, aios_options_destroy>
{
  public:
    options(const context &of, std::uint32_t scopes, std::initializer_list<std::pair<const char *, value>> values = {})
        : handle(of, aios_options_create, of.get(), scopes)
    {
        for (const auto &[name, v] : values) set(name, v);
    }
    options &set(const text &name, const value &v)
    {
        if (const auto *flag = std::get_if<bool>(&v.as_)) {
            call(aios_options_set(get(), name.c_str(), *flag ? "on" : "off"));
        } else if (const auto *whole = std::get_if<std::int64_t>(&v.as_)) {
            call(aios_options_set_int(get(), name.c_str(), *whole));
        } else if (const auto *number = std::get_if<double>(&v.as_)) {
            call(aios_options_set_float(get(), name.c_str(), *number));
        } else {
            call(aios_options_set(get(), name.c_str(), text(std::get<std::string>(v.as_)).c_str()));
        }
        return *this;
    }
    /* T: bool, a whole number, a floating one, std::string. */
    template <class T> T value_of(const text &name) const
    {
        if constexpr (std::is_floating_point_v<T>) {
            double v = 0;
            call(aios_options_get_float(get(), name.c_str(), &v));
            return static_cast<T>(v);
        } else if constexpr (std::is_integral_v<T>) {
            std::int64_t v = 0;
            call(aios_options_get_int(get(), name.c_str(), &v));
            if (static_cast<std::int64_t>(static_cast<T>(v)) != v)
                throw error(AIOS_OUT_OF_RANGE,
                            std::string("option ") + name.c_str() + " is " + std::to_string(v) + ": its type has no such number");
            return static_cast<T>(v);
        } else {
            const char *v = nullptr;
            call(aios_options_get_string(get(), name.c_str(), &v));
            return T(v);
        }
    }
    bool is_set(const text &name) const { return aios_options_is_set(get(), name.c_str()) != 0; }
    options &read_json(const text &json)
    {
        call(aios_options_read_json(get(), json.c_str()));
        return *this;
    }
    std::string json() const
    {
        const char *written = aios_options_write_json(get());
        if (!written) check(AIOS_OUT_OF_MEMORY);
        return written;
    }
};

/* ---- devices ----------------------------------------------------------------------------------------------------- */

/* for (const aios_device_entry &entry : aios::device_list(context)) … */
class device_list : public detail::handle<aios_device_list, aios_device_list_destroy>
{
  public:
    explicit device_list(const context &of) : handle(of, aios_device_list_create, of.get()) {}
    std::uint32_t size() const { return aios_device_list_count(get()); }
    const aios_device_entry &operator[](std::uint32_t index) const { return *aios_device_list_get(get(), index); }
    detail::iterator<device_list> begin() const { return {this, 0}; }
    detail::iterator<device_list> end() const { return {this, size()}; }
    double weight(std::uint32_t index) const { return aios_device_list_get_weight(get(), index); }
    /* Every backend that was looked for, and why where it can't be used. */
    std::vector<aios_backend_entry> backends() const
    {
        std::vector<aios_backend_entry> all;
        for (std::uint32_t i = 0; i < aios_device_list_backend_count(get()); i++) all.push_back(*aios_device_list_get_backend(get(), i));
        return all;
    }
};

class device : public detail::handle<aios_device, aios_device_close>
{
  public:
    device(const context &of, const text &spec) : handle(of, aios_device_open, of.get(), spec.c_str()) {}
    const aios_device_info &info() const { return *aios_device_get_info(get()); }
    std::string_view spec() const { return aios_device_spec(get()); }
    std::uint64_t memory_free() const { return memory().first; }
    std::uint64_t memory_total() const { return memory().second; }
    void synchronize() { call(aios_device_synchronize(get())); }
    aios_status health() const noexcept { return aios_device_health(get()); }

  private:
    std::pair<std::uint64_t, std::uint64_t> memory() const
    {
        std::uint64_t free_bytes = 0, total = 0;
        call(aios_device_memory_info(get(), &free_bytes, &total));
        return {free_bytes, total};
    }
};

class event : public detail::handle<aios_event, aios_event_destroy>
{
  public:
    explicit event(const device &of) : handle(of, aios_event_create, of.get()) {}
    void synchronize() { call(aios_event_synchronize(get())); }
};

class stream : public detail::handle<aios_stream, aios_stream_destroy>
{
  public:
    explicit stream(const device &of) : handle(of, aios_stream_create, of.get()) {}
    void synchronize() { call(aios_stream_synchronize(get())); }
    void record(event &at) { call(aios_event_record(at.get(), get())); }
    void wait(event &for_) { call(aios_stream_wait_event(get(), for_.get())); }
    void copy(void *to, const void *from, std::uint64_t size, std::int32_t kind) { call(aios_stream_copy(get(), to, from, size, kind)); }
    void fill(void *to, std::uint32_t pattern, std::uint64_t size) { call(aios_stream_fill(get(), to, pattern, size)); }
};

/* ---- from a selection to what a run uses ------------------------------------------------------------------------- */

class hardware : public detail::handle<aios_hardware, aios_hardware_destroy>
{
  public:
    /* selection: "gpu:0, gpu:1", JSON, or nullptr for the default. */
    hardware(const context &of, const text &selection, const aios_hardware_options &options = AIOS_HARDWARE_OPTIONS_INIT)
        : handle(of, aios_hardware_resolve, of.get(), nullptr, selection.c_str(), &options)
    {
    }
    hardware(const context &of, const device_list &list, const text &selection,
             const aios_hardware_options &options = AIOS_HARDWARE_OPTIONS_INIT)
        : handle(of, aios_hardware_resolve, of.get(), list.get(), selection.c_str(), &options)
    {
    }
    /* The selection that a file keeps, against what is here now. */
    static hardware load(const context &of, const text &path, const aios_hardware_options &options = AIOS_HARDWARE_OPTIONS_INIT)
    {
        hardware loaded(detail::host_of(of));
        loaded.make(aios_hardware_load, of.get(), nullptr, path.c_str(), &options);
        return loaded;
    }
    void save(const text &path) const { call(aios_hardware_save(get(), path.c_str())); }

    std::string_view accelerator() const { return aios_hardware_accelerator(get()); }
    std::string_view strategy() const { return aios_hardware_strategy(get()); }
    std::string_view precision() const { return aios_hardware_precision(get()); }
    std::uint32_t size() const { return aios_hardware_device_count(get()); }
    const aios_device_entry &operator[](std::uint32_t index) const { return *aios_hardware_device(get(), index); }
    detail::iterator<hardware> begin() const { return {this, 0}; }
    detail::iterator<hardware> end() const { return {this, size()}; }
    std::int64_t effective_batch_size() const { return aios_hardware_effective_batch_size(get()); }
    std::vector<std::string> notes() const { return all(aios_hardware_note_count(get()), aios_hardware_note); }
    std::vector<std::string> changes() const { return all(aios_hardware_change_count(get()), aios_hardware_change); }
    std::vector<std::string> warnings() const { return all(aios_hardware_warning_count(get()), aios_hardware_warning); }
    std::string_view json() const { return aios_hardware_json(get()); }

  private:
    explicit hardware(std::shared_ptr<detail::host> host) : handle(std::move(host)) {}
    std::vector<std::string> all(std::uint32_t count, const char *(*one)(const aios_hardware *, std::uint32_t)) const
    {
        std::vector<std::string> texts;
        for (std::uint32_t i = 0; i < count; i++) texts.emplace_back(one(get(), i));
        return texts;
    }
};

/* ---- text and data ----------------------------------------------------------------------------------------------- */

class tokenizer : public detail::handle<aios_tokenizer, aios_tokenizer_close>
{
  public:
    tokenizer(const context &of, const text &spec) : handle(of, aios_tokenizer_open, of.get(), spec.c_str()) {}
    std::vector<std::int32_t> encode(std::string_view words) const { return encode(words, 1, aios_tokenizer_encode); }
    /* Special tokens that stand in the text are their ids. */
    std::vector<std::int32_t> encode_special(std::string_view words) const { return encode(words, 2, aios_tokenizer_encode_special); }
    std::string decode(span<const std::int32_t> ids) const
    {
        std::string words;
        std::size_t length = 0;
        call(aios_tokenizer_decode(get(), ids.data(), ids.size(), nullptr, 0, &length));
        words.resize(length);
        call(aios_tokenizer_decode(get(), ids.data(), ids.size(), words.data(), words.size(), &length));
        return words;
    }
    std::int32_t vocabulary_size() const { return aios_tokenizer_vocabulary_size(get()); }
    std::int32_t end_of_text() const { return aios_tokenizer_end_of_text(get()); } /* -1: none */
    std::int32_t find(std::string_view token) const { return aios_tokenizer_find(get(), token.data(), token.size()); }
    std::string_view name() const { return aios_tokenizer_name(get()); }
    std::string_view identity() const { return aios_tokenizer_identity(get()); }
    void save(const text &folder) const { call(aios_tokenizer_save(get(), folder.c_str())); }

  private:
    std::vector<std::int32_t> encode(std::string_view words, std::size_t most_per_byte, decltype(aios_tokenizer_encode) *with) const
    {
        std::vector<std::int32_t> ids(words.size() * most_per_byte + 1);
        std::size_t count = 0;
        call(with(get(), words.data(), words.size(), ids.data(), ids.size(), &count));
        ids.resize(count);
        return ids;
    }
};

class dataset : public detail::handle<aios_dataset, aios_dataset_close>
{
  public:
    /* options.path and .tokenizer must be set. */
    dataset(const context &of, const aios_dataset_options &options) : handle(of, aios_dataset_open, of.get(), &options) {}
    /* Another part of the same corpus: AIOS_SPLIT_EVAL beside AIOS_SPLIT_TRAIN. */
    dataset open_split(std::int32_t split, bool shuffle = false, std::uint64_t seed = 0) const
    {
        dataset other(host_);
        other.make(aios_dataset_open_split, static_cast<const aios_dataset *>(get()), split, shuffle ? 1 : 0, seed);
        return other;
    }
    std::uint64_t size() const { return aios_dataset_count(get()); }
    std::int32_t sequence_length() const { return aios_dataset_sequence_length(get()); }
    std::uint64_t tokens() const { return aios_dataset_tokens(get()); }
    std::string_view identity() const { return aios_dataset_identity(get()); }
    std::string_view order_identity() const { return aios_dataset_order_identity(get()); }
    /* Both of sequence_length(). */
    void read(std::uint64_t order, span<std::int32_t> inputs, span<std::int32_t> labels) const
    {
        const auto length = static_cast<std::size_t>(sequence_length());
        if (inputs.size() < length || labels.size() < length)
            throw error(AIOS_OUT_OF_RANGE, "dataset::read: inputs and labels must have room for " + std::to_string(length) + " tokens");
        call(aios_dataset_read(get(), order, inputs.data(), labels.data()));
    }
    /* Both of count * sequence_length(): what a claim of a chunk_tracker names. */
    void read_range(std::uint64_t epoch, std::uint64_t first, std::uint64_t count, span<std::int32_t> inputs,
                    span<std::int32_t> labels) const
    {
        const auto length = static_cast<std::size_t>(sequence_length());
        if (length && (inputs.size() / length < count || labels.size() / length < count))
            throw error(AIOS_OUT_OF_RANGE, "dataset::read_range: inputs and labels must have room for " + std::to_string(count) +
                                               " samples of " + std::to_string(length) + " tokens");
        call(aios_dataset_read_range(get(), epoch, first, count, inputs.data(), labels.data()));
    }
    void prefetch(std::uint64_t epoch, std::uint64_t first, std::uint64_t count) const
    {
        aios_dataset_prefetch(get(), epoch, first, count);
    }

  private:
    explicit dataset(std::shared_ptr<detail::host> host) : handle(std::move(host)) {}
};

/* ---- graph ------------------------------------------------------------------------------------------------------- */

using tensor = aios_tensor;
using shape = std::initializer_list<std::int32_t>;

/* Operations on a graph that belongs to somebody: what a model's function records on.  As in graph.h, the first mistake is told by
 * finish(); until then the calls after it give 0. */
class graph_ref
{
  public:
    explicit graph_ref(aios_graph *graph) noexcept : graph_(graph) {}
    aios_graph *get() const noexcept { return graph_; }

    tensor input(const text &name, std::int32_t type, shape s) const
    {
        return aios_graph_input(graph_, name.c_str(), type, s.begin(), rank(s));
    }
    tensor parameter(const text &name, shape s, std::int32_t init, float init_scale, std::int32_t group = AIOS_GROUP_DECAY) const
    {
        return aios_graph_parameter(graph_, name.c_str(), s.begin(), rank(s), init, init_scale, group);
    }
    tensor rows(const text &name, std::int32_t rows, std::int32_t n, tensor ids) const
    {
        return aios_graph_rows(graph_, name.c_str(), rows, n, ids);
    }
    tensor state(const text &name, std::int32_t type, shape s) const
    {
        return aios_graph_state(graph_, name.c_str(), type, s.begin(), rank(s));
    }
    void assign(tensor state, tensor to) const { aios_graph_assign(graph_, state, to); }

    tensor embedding(tensor table, tensor ids) const { return aios_graph_embedding(graph_, table, ids); }
    tensor linear(tensor x, tensor weight, tensor bias = 0, std::int32_t layout = AIOS_WEIGHT_OUT_IN,
                  std::int32_t activation = AIOS_ACTIVATION_NONE) const
    {
        return aios_graph_linear(graph_, x, weight, bias, layout, activation);
    }
    tensor add(tensor a, tensor b) const { return aios_graph_add(graph_, a, b); }
    tensor scale(tensor x, float factor) const { return aios_graph_scale(graph_, x, factor); }
    tensor layernorm(tensor x, tensor weight, tensor bias, float eps = 1e-5f) const
    {
        return aios_graph_layernorm(graph_, x, weight, bias, eps);
    }
    tensor rmsnorm(tensor x, tensor weight = 0, float eps = 1e-5f) const { return aios_graph_rmsnorm(graph_, x, weight, eps); }
    tensor gelu(tensor x) const { return aios_graph_gelu(graph_, x); }
    tensor swiglu(tensor x) const { return aios_graph_swiglu(graph_, x); }
    tensor attention(tensor qkv, const aios_attention_options &options) const { return aios_graph_attention(graph_, qkv, &options); }
    tensor slice(tensor x, std::int32_t axis, std::int32_t start, std::int32_t length) const
    {
        return aios_graph_slice(graph_, x, axis, start, length);
    }
    tensor concat(tensor a, tensor b, std::int32_t axis) const { return aios_graph_concat(graph_, a, b, axis); }
    tensor reshape(tensor x, shape s) const { return aios_graph_reshape(graph_, x, s.begin(), rank(s)); }
    tensor select(tensor mask, tensor a, tensor b) const { return aios_graph_select(graph_, mask, a, b); }
    tensor detach(tensor x) const { return aios_graph_detach(graph_, x); }
    tensor cross_entropy(tensor logits, tensor labels, std::int32_t kind = AIOS_SOFTMAX, float weight = 1.0f) const
    {
        return aios_graph_cross_entropy(graph_, logits, labels, kind, weight);
    }
    tensor sequence_cross_entropy(tensor logits, tensor labels, std::int32_t kind = AIOS_SOFTMAX, float weight = 1.0f) const
    {
        return aios_graph_sequence_cross_entropy(graph_, logits, labels, kind, weight);
    }
    tensor bce_with_logits(tensor x, tensor targets, float weight = 1.0f) const
    {
        return aios_graph_bce_with_logits(graph_, x, targets, weight);
    }
    tensor sequence_correct(tensor losses) const { return aios_graph_sequence_correct(graph_, losses); }
    /* Mixtures of experts. */
    tensor expert_gates(tensor logits, std::int32_t chosen) const { return aios_graph_expert_gates(graph_, logits, chosen); }
    tensor expert_scale(tensor x, tensor gates) const { return aios_graph_expert_scale(graph_, x, gates); }
    tensor expert_rows(tensor x, tensor gates) const { return aios_graph_expert_rows(graph_, x, gates); }
    tensor expert_linear(tensor x, tensor gates, tensor weight, std::int32_t parts = 1) const
    {
        return aios_graph_expert_linear(graph_, x, gates, weight, parts);
    }
    tensor expert_sum(tensor x, tensor gates) const { return aios_graph_expert_sum(graph_, x, gates); }
    tensor expert_balance(tensor gates, tensor labels, float weight) const
    {
        return aios_graph_expert_balance(graph_, gates, labels, weight);
    }
    /* Adaptive computation time. */
    tensor count_steps(tensor steps, tensor running) const { return aios_graph_count_steps(graph_, steps, running); }
    tensor halt(tensor steps, tensor q, tensor min_steps, std::int32_t max_steps) const
    {
        return aios_graph_halt(graph_, steps, q, min_steps, max_steps);
    }
    tensor halt_target(tensor steps, tensor next_q, std::int32_t max_steps) const
    {
        return aios_graph_halt_target(graph_, steps, next_q, max_steps);
    }
    /* What recorded() records is not differentiated; its losses flow back, but plan::losses does not tell them. */
    template <class F> void no_gradient(F &&recorded) const
    {
        const region within{graph_, aios_graph_end_no_gradient};
        aios_graph_begin_no_gradient(graph_);
        recorded();
    }
    template <class F> void auxiliary(F &&recorded) const
    {
        const region within{graph_, aios_graph_end_auxiliary};
        aios_graph_begin_auxiliary(graph_);
        recorded();
    }
    void output(const text &name, tensor x) const { aios_graph_output(graph_, name.c_str(), x); }
    void mark() const { aios_graph_mark(graph_); }
    void finish() const { check(aios_graph_finish(graph_)); }

    std::vector<std::int32_t> dimensions(tensor x) const
    {
        std::vector<std::int32_t> all;
        for (std::int32_t axis = 0; axis < aios_graph_rank(graph_, x); axis++) all.push_back(aios_graph_dimension(graph_, x, axis));
        return all;
    }

  private:
    struct region { /* ends, whatever is thrown */
        aios_graph *graph;
        void (*end)(aios_graph *);
        ~region() { end(graph); }
    };
    static std::int32_t rank(shape s) { return static_cast<std::int32_t>(s.size()); }
    aios_graph *graph_;
};

/* A graph of one's own: aios::graph g(context); g->input(…). */
class graph : public detail::handle<aios_graph, aios_graph_destroy>
{
  public:
    explicit graph(const context &of) : handle(of, aios_graph_create, of.get()), ref_(get()) {}
    const graph_ref *operator->() const noexcept { return &ref_; }
    const graph_ref &operator*() const noexcept { return ref_; }

  private:
    graph_ref ref_;
};

/* ---- parameters, plan, optimizer --------------------------------------------------------------------------------- */

/* Weights on a device, which belong to somebody. */
class parameters_ref
{
  public:
    explicit parameters_ref(aios_parameters *parameters) noexcept : parameters_(parameters) {}
    std::uint32_t size() const { return aios_parameters_count(parameters_); }
    std::uint64_t total() const { return aios_parameters_total(parameters_); }
    aios_parameter_info operator[](std::uint32_t index) const
    {
        auto info = detail::sized<aios_parameter_info>();
        check(aios_parameters_info(parameters_, index, &info));
        return info;
    }
    detail::iterator<parameters_ref> begin() const { return {this, 0}; }
    detail::iterator<parameters_ref> end() const { return {this, size()}; }
    void initialize(std::uint64_t seed) const { check(aios_parameters_initialize(parameters_, seed)); }
    void reset_states() const { check(aios_parameters_reset_states(parameters_)); }
    void read(const text &name, span<float> to, std::int32_t kind = AIOS_VALUE) const
    {
        check(aios_parameters_read(parameters_, name.c_str(), kind, to.data(), to.size()));
    }
    std::vector<float> read(const text &name, std::int32_t kind = AIOS_VALUE) const
    {
        std::vector<float> values;
        for (const aios_parameter_info &info : *this)
            if (std::string_view(info.name) == name.c_str()) values.resize(static_cast<std::size_t>(info.count));
        read(name, values, kind);
        return values;
    }
    void write(const text &name, span<const float> from, std::int32_t kind = AIOS_VALUE) const
    {
        check(aios_parameters_write(parameters_, name.c_str(), kind, from.data(), from.size()));
    }

  private:
    aios_parameters *parameters_;
};

/* Weights of one's own: aios::parameters p(device, g); p->initialize(42).  They outlive their plans and optimizers. */
class parameters : public detail::handle<aios_parameters, aios_parameters_destroy>
{
  public:
    parameters(const device &on, const graph &of, const aios_parameters_options &options = AIOS_PARAMETERS_OPTIONS_INIT)
        : handle(of, aios_parameters_create, on.get(), of.get(), &options), ref_(get())
    {
    }
    const parameters_ref *operator->() const noexcept { return &ref_; }
    const parameters_ref &operator*() const noexcept { return ref_; }

  private:
    parameters_ref ref_;
};

class plan : public detail::handle<aios_plan, aios_plan_destroy>
{
  public:
    plan(const graph &of, parameters &with, const aios_plan_options &options = AIOS_PLAN_OPTIONS_INIT)
        : handle(of, aios_plan_create, of.get(), with.get(), &options)
    {
    }
    /* Arrays of i32 or float. */
    void write(const text &name, span<const std::int32_t> data)
    {
        call(aios_plan_write(get(), name.c_str(), data.data(), data.size_bytes()));
    }
    void write(const text &name, span<const float> data) { call(aios_plan_write(get(), name.c_str(), data.data(), data.size_bytes())); }
    void run() { call(aios_plan_run(get())); }
    void read(const text &name, span<float> to) { call(aios_plan_read(get(), name.c_str(), to.data(), to.size_bytes())); }
    void read(const text &name, span<std::int32_t> to) { call(aios_plan_read(get(), name.c_str(), to.data(), to.size_bytes())); }
    void read_row(const text &name, std::uint64_t row, span<float> to)
    {
        call(aios_plan_read_row(get(), name.c_str(), row, to.data(), to.size()));
    }
    /* Sums since the last call that reset them. */
    aios_loss_sums losses(bool reset = true)
    {
        auto sums = detail::sized<aios_loss_sums>();
        call(aios_plan_losses(get(), &sums, reset ? 1 : 0));
        return sums;
    }
    aios_plan_memory memory() const
    {
        auto memory = detail::sized<aios_plan_memory>();
        call(aios_plan_get_memory(get(), &memory));
        return memory;
    }
};

class optimizer : public detail::handle<aios_optimizer, aios_optimizer_destroy>
{
  public:
    explicit optimizer(parameters &of, const aios_optimizer_options &options = AIOS_OPTIMIZER_OPTIONS_INIT)
        : handle(of, aios_optimizer_create, of.get(), &options)
    {
    }
    void begin(double lr, double weight) { call(aios_optimizer_begin(get(), lr, weight)); }
    void step() { call(aios_optimizer_step(get())); }
    aios_step_result result()
    {
        auto result = detail::sized<aios_step_result>();
        call(aios_optimizer_result(get(), &result));
        return result;
    }
    std::vector<float> state()
    {
        std::vector<float> numbers(aios_optimizer_state_count());
        call(aios_optimizer_read_state(get(), numbers.data(), static_cast<std::uint32_t>(numbers.size())));
        return numbers;
    }
    void set_state(span<const float> numbers)
    {
        call(aios_optimizer_write_state(get(), numbers.data(), static_cast<std::uint32_t>(numbers.size())));
    }
};

/* ---- models ------------------------------------------------------------------------------------------------------ */

struct custom_model {
    std::string name;
    std::int32_t vocabulary_size = 0;
    std::int32_t context_length = 0;
    std::string config_json = {}; /* saved as config.json; "": none */
};

class model : public detail::handle<aios_model, aios_model_destroy>
{
  public:
    /* From the text of a config.json. */
    model(const context &of, const text &config_json) : handle(of, aios_model_create, of.get(), config_json.c_str()) {}
    static model open(const context &of, const text &folder)
    {
        model opened(detail::host_of(of));
        opened.make(aios_model_open, of.get(), folder.c_str());
        return opened;
    }
    /* record(aios::graph_ref, mode, batch, sequence) is called whenever a graph is needed, and lives as long as the model. */
    template <class F> static model custom(const context &of, const custom_model &about, F record)
    {
        struct recorder {
            F record;
            std::shared_ptr<detail::host> host;
        };
        auto user = std::make_unique<recorder>(recorder{std::move(record), detail::host_of(of)});
        auto functions = detail::sized<aios_model_functions>();
        functions.vocabulary_size = about.vocabulary_size;
        functions.context_length = about.context_length;
        functions.name = about.name.c_str();
        functions.config_json = about.config_json.empty() ? nullptr : about.config_json.c_str();
        functions.user = user.get();
        functions.record = [](void *at, aios_graph *graph, std::int32_t mode, std::int32_t batch, std::int32_t sequence) -> aios_status {
            auto *self = static_cast<recorder *>(at);
            aios_status status = AIOS_INTERNAL; /* what was thrown is told in its place */
            self->host->guard([&] {
                self->record(graph_ref(graph), mode, batch, sequence);
                status = AIOS_OK;
            });
            return status;
        };
        functions.destroy = [](void *at) { delete static_cast<recorder *>(at); };
        model created(user->host);
        created.make(aios_model_create_custom, of.get(), &functions);
        user.release(); /* the model's */
        return created;
    }
    std::string_view name() const { return aios_model_name(get()); }
    std::string_view config() const { return aios_model_config(get()); }
    std::int32_t vocabulary_size() const { return aios_model_vocabulary_size(get()); }
    std::int32_t context_length() const { return aios_model_context_length(get()); }
    void record(graph &on, std::int32_t mode, std::int32_t batch, std::int32_t sequence) const
    {
        call(aios_model_record(get(), on.get(), mode, batch, sequence));
    }
    void load_weights(parameters &into, const text &folder) const { call(aios_model_load_weights(get(), into.get(), folder.c_str())); }
    void save_weights(const parameters &from, const text &folder, std::int32_t type = AIOS_F32, std::uint64_t max_shard_size = 0) const
    {
        call(aios_model_save_weights(get(), from.get(), folder.c_str(), type, max_shard_size));
    }

  private:
    explicit model(std::shared_ptr<detail::host> host) : handle(std::move(host)) {}
};

/* ---- training, evaluation, generation ---------------------------------------------------------------------------- */

enum class outcome { done, stopped };

class trainer : public detail::handle<aios_trainer, aios_trainer_destroy>
{
  public:
    /* *stop not 0 while the text is fetched or tokenized: an error of status AIOS_STOPPED; nullptr: never. */
    trainer(const context &of, const options &with, const volatile std::int32_t *stop = nullptr)
        : trainer(of, with, static_cast<aios_model *>(nullptr), stop)
    {
    }
    trainer(const context &of, const options &with, const model &of_this, const volatile std::int32_t *stop = nullptr)
        : trainer(of, with, of_this.get(), stop)
    {
    }

    /* stopped: a stop was obeyed and the state saved; run() goes on from there. */
    outcome run()
    {
        const detail::host::running running(*host_, get());
        const aios_status status = aios_trainer_run(get());
        host_->rethrow();
        if (status == AIOS_STOPPED) return outcome::stopped;
        check(status);
        return outcome::done;
    }
    /* From any thread, a callback or a signal handler. */
    void stop(std::int32_t mode = AIOS_STOP_GRACEFUL) noexcept { aios_trainer_stop(get(), mode); }
    aios_trainer_metrics metrics() const
    {
        auto metrics = detail::sized<aios_trainer_metrics>();
        call(aios_trainer_get_metrics(get(), &metrics));
        return metrics;
    }
    std::string_view folder() const { return aios_trainer_folder(get()); }
    parameters_ref parameters() const { return parameters_ref(aios_trainer_parameters(get())); } /* not while it runs */

  private:
    trainer(const context &of, const options &with, aios_model *of_this, const volatile std::int32_t *stop)
        : handle(of, aios_trainer_create_until, of.get(), with.get(), of_this, stop)
    {
    }
};

inline aios_evaluation evaluate(const context &of, const options &with)
{
    auto evaluation = detail::sized<aios_evaluation>();
    detail::host_of(of)->finish(aios_evaluate(of.get(), with.get(), &evaluation));
    return evaluation;
}

/* The same, until *stop is not 0: outcome::stopped, and evaluation holds what was done by then. */
inline outcome evaluate(const context &of, const options &with, const volatile std::int32_t *stop, aios_evaluation &evaluation)
{
    evaluation = detail::sized<aios_evaluation>();
    const aios_status status = aios_evaluate_until(of.get(), with.get(), stop, &evaluation);
    detail::host_of(of)->finish(status == AIOS_STOPPED ? AIOS_OK : status);
    return status == AIOS_STOPPED ? outcome::stopped : outcome::done;
}

/* weights: empty, or a number for each folder. */
inline void merge_checkpoints(const context &of, const std::vector<std::string> &folders, const text &output,
                              span<const double> weights = {})
{
    if (weights.size() != 0 && weights.size() != folders.size())
        throw error(AIOS_INVALID_ARGUMENT, "merge_checkpoints: " + std::to_string(weights.size()) + " weights for " +
                                               std::to_string(folders.size()) + " folders: there must be one for each, or none");
    std::vector<const char *> names;
    for (const std::string &folder : folders) names.push_back(folder.c_str());
    aios_merge_options options = AIOS_MERGE_OPTIONS_INIT;
    options.count = static_cast<std::uint32_t>(names.size());
    options.folders = names.data();
    options.weights = weights.data();
    options.output = output.c_str();
    detail::host_of(of)->finish(aios_merge_checkpoints(of.get(), &options));
}

class generator : public detail::handle<aios_generator, aios_generator_destroy>
{
  public:
    generator(const context &of, const options &with) : handle(of, aios_generator_create, of.get(), with.get()) {}
    /* words(std::string_view) gets the text as it comes; where it returns false, that is the end. */
    template <class F> void run(std::string_view prompt, std::uint64_t seed, F &&words)
    {
        detail::caller<std::remove_reference_t<F>> caller(words);
        const aios_status status = aios_generator_run(
            get(), prompt.data(), prompt.size(), seed,
            [](void *user, const char *at, std::size_t size) {
                return (*static_cast<decltype(caller) *>(user))(std::string_view(at, size));
            },
            &caller);
        caller.rethrow();
        call(status);
    }
    std::string run(std::string_view prompt, std::uint64_t seed)
    {
        std::string all;
        run(prompt, seed, [&](std::string_view words) { all += words; });
        return all;
    }
};

class estimate : public detail::handle<aios_estimate, aios_estimate_destroy>
{
  public:
    /* memory: bytes of each device; 0: what is free. */
    estimate(const context &of, const options &with, std::uint64_t memory = 0)
        : handle(of, aios_estimate_create, of.get(), with.get(), nullptr, memory)
    {
    }
    std::uint32_t size() const { return aios_estimate_device_count(get()); }
    aios_device_estimate operator[](std::uint32_t index) const
    {
        auto info = detail::sized<aios_device_estimate>();
        call(aios_estimate_device(get(), index, &info));
        return info;
    }
    detail::iterator<estimate> begin() const { return {this, 0}; }
    detail::iterator<estimate> end() const { return {this, size()}; }
    std::uint64_t parameters() const { return aios_estimate_parameters(get()); }
    std::int64_t largest_batch() const { return aios_estimate_largest_batch(get()); }
};

/* ---- the chunk tracker ------------------------------------------------------------------------------------------- */

class chunk_tracker : public detail::handle<aios_chunk_tracker, aios_chunk_tracker_close>
{
  public:
    /* options.folder must be set. */
    chunk_tracker(const context &of, const aios_chunk_tracker_options &options) : handle(of, aios_chunk_tracker_open, of.get(), &options) {}
    /* outcome says whether there is something to train: AIOS_CHUNK_CLAIMED, _WAIT, _FINISHED. */
    aios_chunk_claim claim(const aios_chunk_claim_options &options = AIOS_CHUNK_CLAIM_OPTIONS_INIT)
    {
        aios_chunk_claim claim = AIOS_CHUNK_CLAIM_INIT;
        call(aios_chunk_tracker_claim(get(), &options, &claim));
        return claim;
    }
    void heartbeat(std::uint64_t token) { call(aios_chunk_tracker_heartbeat(get(), token)); }
    void progress(std::uint64_t token, std::uint64_t samples, std::uint64_t steps, std::uint64_t optimizer_step)
    {
        call(aios_chunk_tracker_progress(get(), token, samples, steps, optimizer_step));
    }
    void complete(std::uint64_t token, std::uint64_t steps, std::uint64_t optimizer_step)
    {
        call(aios_chunk_tracker_complete(get(), token, steps, optimizer_step));
    }
    void release(std::uint64_t token, std::uint64_t samples, std::uint64_t steps, std::uint64_t optimizer_step)
    {
        call(aios_chunk_tracker_release(get(), token, samples, steps, optimizer_step));
    }
    void abandon(const text &owner) { call(aios_chunk_tracker_abandon(get(), owner.c_str())); }
    void set_total(std::uint64_t samples) { call(aios_chunk_tracker_set_total(get(), samples)); }
    void share() { call(aios_chunk_tracker_share(get())); }
    /* The number of the checkpoint that is to be written now. */
    std::uint64_t seal()
    {
        std::uint64_t checkpoint = 0;
        call(aios_chunk_tracker_seal(get(), &checkpoint));
        return checkpoint;
    }
    void commit(std::uint64_t checkpoint) { call(aios_chunk_tracker_commit(get(), checkpoint)); }
    void resume(std::uint64_t checkpoint) { call(aios_chunk_tracker_resume(get(), checkpoint)); }
    void forget(std::uint64_t checkpoint) { call(aios_chunk_tracker_forget(get(), checkpoint)); }
    void export_json(const text &path = nullptr) { call(aios_chunk_tracker_export(get(), path.c_str())); }
    aios_chunk_tracker_info info() const
    {
        aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
        call(aios_chunk_tracker_get_info(get(), &info));
        return info;
    }
    aios_chunk_progress epoch(std::uint64_t number) const
    {
        aios_chunk_progress progress = AIOS_CHUNK_PROGRESS_INIT;
        call(aios_chunk_tracker_get_epoch(get(), number, &progress));
        return progress;
    }
};

/* ---- puzzles and HRM --------------------------------------------------------------------------------------------- */

class puzzles : public detail::handle<aios_puzzles, aios_puzzles_destroy>
{
  public:
    puzzles(const context &of, const text &folder, const text &split)
        : handle(of, aios_puzzles_open, of.get(), folder.c_str(), split.c_str())
    {
    }
    /* other: a set of which none may occur. */
    static puzzles make_sudoku(const context &of, const aios_sudoku_options &options, const puzzles *other = nullptr)
    {
        puzzles drawn(detail::host_of(of));
        drawn.make(aios_puzzles_make_sudoku, of.get(), &options, other ? static_cast<const aios_puzzles *>(other->get()) : nullptr);
        return drawn;
    }
    static puzzles make_mazes(const context &of, const aios_maze_options &options, const puzzles *other = nullptr)
    {
        puzzles drawn(detail::host_of(of));
        drawn.make(aios_puzzles_make_mazes, of.get(), &options, other ? static_cast<const aios_puzzles *>(other->get()) : nullptr);
        return drawn;
    }
    struct example {
        std::vector<std::int32_t> inputs, labels; /* labels that don't count are -100 */
        std::int32_t identifier;
    };
    example operator[](std::uint64_t index) const
    {
        const auto length = static_cast<std::size_t>(info().length);
        example found{std::vector<std::int32_t>(length), std::vector<std::int32_t>(length), 0};
        call(aios_puzzles_example(get(), index, found.inputs.data(), found.labels.data(), &found.identifier));
        return found;
    }
    aios_puzzles_info info() const
    {
        auto info = detail::sized<aios_puzzles_info>();
        call(aios_puzzles_get_info(get(), &info));
        return info;
    }
    void save(const text &folder, const text &split) const { call(aios_puzzles_save(get(), folder.c_str(), split.c_str())); }

  private:
    explicit puzzles(std::shared_ptr<detail::host> host) : handle(std::move(host)) {}
};

/* *stop: looked at after each step; nullptr: never. */
inline aios_hrm_scores hrm_train(const context &of, const options &with, const volatile std::int32_t *stop = nullptr)
{
    auto scores = detail::sized<aios_hrm_scores>();
    detail::host_of(of)->finish(aios_hrm_train(of.get(), with.get(), stop, &scores));
    return scores;
}

inline aios_hrm_scores hrm_evaluate(const context &of, const options &with)
{
    auto scores = detail::sized<aios_hrm_scores>();
    detail::host_of(of)->finish(aios_hrm_evaluate(of.get(), with.get(), &scores));
    return scores;
}

/* The same, until *stop is not 0: outcome::stopped, and scores are of what was done by then. */
inline outcome hrm_evaluate(const context &of, const options &with, const volatile std::int32_t *stop, aios_hrm_scores &scores)
{
    scores = detail::sized<aios_hrm_scores>();
    const aios_status status = aios_hrm_evaluate_until(of.get(), with.get(), stop, &scores);
    detail::host_of(of)->finish(status == AIOS_STOPPED ? AIOS_OK : status);
    return status == AIOS_STOPPED ? outcome::stopped : outcome::done;
}

class hrm_solver : public detail::handle<aios_hrm_solver, aios_hrm_solver_destroy>
{
  public:
    hrm_solver(const context &of, const options &with) : handle(of, aios_hrm_solver_create, of.get(), with.get()) {}
    std::vector<std::int32_t> run(span<const std::int32_t> inputs, std::int32_t identifier = 0)
    {
        std::vector<std::int32_t> answers(inputs.size());
        call(aios_hrm_solver_run(get(), inputs.data(), inputs.size(), identifier, nullptr, nullptr, answers.data(), nullptr, nullptr));
        return answers;
    }
};

} // namespace aios

#endif
