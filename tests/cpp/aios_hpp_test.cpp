// aios.hpp: errors as exceptions, handles that move, callbacks that may throw, text and arrays in and out.  Argument: a folder for runs.
#include <aios/aios.hpp>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace
{

int failures;
std::filesystem::path folder;

void expect(bool holds, const char *what, int line)
{
    if (holds) return;
    failures++;
    std::fprintf(stderr, "aios_hpp_test.cpp:%d: not so: %s\n", line, what);
}
#define EXPECT(x) expect((x), #x, __LINE__)

// Calls, and returns what was thrown.
template <class E, class F> E thrown_by(F &&call, int line)
{
    try {
        call();
    } catch (const E &e) {
        return e;
    }
    std::fprintf(stderr, "aios_hpp_test.cpp:%d: nothing was thrown\n", line);
    std::exit(1);
}
#define THROWN(E, call) thrown_by<E>([&] { call; }, __LINE__)

std::string notes()
{
    const auto path = folder / "notes.txt";
    std::ofstream file(path);
    for (int i = 0; i < 300; i++) file << "The quick brown fox jumps over the lazy dog.\n";
    return path.string();
}

aios::options tiny_run(const aios::context &context, const char *name, int steps)
{
    return aios::options(context, AIOS_SCOPE_TRAIN,
                         {{"dataset-file", notes()},
                          {"save-dir", (folder / name).string()},
                          {"cache-dir", (folder / "cache").string()},
                          {"tokenizer", "bytes"},
                          {"max-seq-len", 16},
                          {"steps", steps},
                          {"n-layer", 1},
                          {"n-head", 1},
                          {"n-embd", 16},
                          {"log-interval", 1}});
}

void errors_are_exceptions()
{
    const aios::context context;
    aios::options options(context, AIOS_SCOPE_TRAIN);
    const auto e = THROWN(aios::error, options.set("batch-sise", 8));
    EXPECT(e.status() == AIOS_NOT_FOUND && std::string_view(e.name()) == "AIOS_NOT_FOUND");
    EXPECT(std::string_view(e.what()).find("batch-size") != std::string_view::npos); // the nearest name
    EXPECT(THROWN(aios::error, options.set("steps", -5)).status() == AIOS_OUT_OF_RANGE);
    EXPECT(THROWN(aios::error, options.set("seed", std::numeric_limits<std::uint64_t>::max())).status() != AIOS_OK);
    EXPECT(THROWN(aios::error, options.set(std::string("st\0eps", 6), 1)).status() == AIOS_INVALID_ARGUMENT);
    EXPECT(THROWN(aios::error, aios::device(context, "abacus:0")).status() == AIOS_NOT_FOUND);
}

void options_take_and_give_values()
{
    const aios::context context;
    aios::options options(context, AIOS_SCOPE_TRAIN, {{"steps", 12}, {"lr", 0.25f}, {"resume", true}, {"precision", std::string("32")}});
    options.set(std::string_view("batch-size-and-more").substr(0, 10), 3u).set("lr-warmup-steps", std::size_t{7});
    EXPECT(options.value_of<int>("steps") == 12 && options.value_of<bool>("resume") && options.value_of<int>("batch-size") == 3);
    EXPECT(options.value_of<double>("lr") == 0.25 && options.value_of<std::string>("precision") == "32");
    EXPECT(options.is_set("lr-warmup-steps") && !options.is_set("n-layer"));
    options.set("seed", std::int64_t{1} << 40);
    EXPECT(options.value_of<std::int64_t>("seed") == std::int64_t{1} << 40);
    EXPECT(THROWN(aios::error, options.value_of<int>("seed")).status() == AIOS_OUT_OF_RANGE);
    aios::options copy(context, AIOS_SCOPE_TRAIN);
    copy.read_json(options.json());
    EXPECT(copy.json() == options.json());
}

void handles_move_and_outlive_their_context()
{
    auto context = std::make_unique<aios::context>();
    aios::device first(*context, "cpu");
    aios::device second = std::move(first);
    EXPECT(!first && second && second.spec() == "cpu:0");
    first = std::move(second);
    first = aios::device(*context, "cpu:0"); // the old one is closed
    EXPECT(first && first.memory_total() >= first.memory_free() && first.health() == AIOS_OK);
    const aios::device_list devices(*context);
    context.reset();
    std::size_t cpus = 0;
    for (const aios_device_entry &entry : devices) cpus += std::string_view(entry.info.backend) == "cpu" ? 1u : 0u;
    EXPECT(cpus == 1 && devices.backends().size() >= 1);
    static_assert(!std::is_copy_constructible_v<aios::device> && std::is_nothrow_move_assignable_v<aios::trainer>);
}

void text_and_arrays_pass()
{
    const aios::context context;
    const aios::tokenizer tokenizer(context, "bytes");
    const auto ids = tokenizer.encode(std::string_view("zero \0 byte", 11));
    EXPECT(ids.size() == 11 && ids[5] == 0 && tokenizer.decode(ids) == std::string("zero \0 byte", 11));
    const aios::hardware hardware(context, "cpu");
    EXPECT(hardware.accelerator() == "cpu" && hardware.size() == 1 && hardware.json().find("\"strategy\"") != std::string_view::npos);
    hardware.save((folder / "selection.json").string());
    EXPECT(aios::hardware::load(context, (folder / "selection.json").string()).size() == 1);
}

void a_graph_runs()
{
    const aios::context context;
    const aios::device device(context, "cpu");
    aios::graph graph(context);
    const auto x = graph->input("x", AIOS_F32, {4, 3});
    const auto y = graph->linear(x, graph->parameter("w", {2, 3}, AIOS_INIT_CONSTANT, 0.5f));
    graph->output("y", y);
    graph->finish();
    EXPECT((graph->dimensions(y) == std::vector<std::int32_t>{4, 2}));
    aios::parameters parameters(device, graph);
    parameters->initialize(1);
    parameters->write("w", std::array<float, 6>{1, 2, 3, 4, 5, 6});
    EXPECT(parameters->total() == 6 && parameters->read("w")[5] == 6.0f);
    aios::plan plan(graph, parameters);
    const std::vector<float> ones(12, 1.0f);
    float out[8];
    plan.write("x", ones);
    plan.run();
    plan.read("y", out);
    EXPECT(out[0] == 6.0f && out[7] == 15.0f && plan.memory().instructions > 0);
    EXPECT(THROWN(aios::error, plan.write("z", ones)).status() == AIOS_NOT_FOUND);

    aios::graph losses(context);
    const auto ids = losses->input("ids", AIOS_I32, {2, 3});
    const auto logits = losses->embedding(losses->parameter("table", {5, 5}, AIOS_INIT_NORMAL, 1.0f), ids);
    const auto gates = losses->expert_gates(logits, 2);
    losses->auxiliary([&] { losses->expert_balance(gates, ids, 0.5f); });
    losses->no_gradient([&] { losses->output("scaled", losses->expert_scale(logits, gates)); });
    const auto rows =
        losses->expert_linear(losses->expert_rows(logits, gates), gates, losses->parameter("experts", {5 * 4, 5}, AIOS_INIT_ONE, 0));
    losses->output("experts", losses->expert_sum(rows, gates));
    EXPECT((losses->dimensions(rows) == std::vector<std::int32_t>{2 * 3 * 2, 4}));
    losses->output("correct", losses->sequence_correct(losses->sequence_cross_entropy(logits, ids)));
    EXPECT(THROWN(std::domain_error, losses->no_gradient([] { throw std::domain_error("within"); })).what() == std::string("within"));
    losses->finish(); // every region has ended
    EXPECT((losses->dimensions(gates) == std::vector<std::int32_t>{2, 3, 5}));
    aios::parameters table(device, losses);
    table->initialize(1);
    aios::plan chosen(losses, table);
    chosen.write("ids", std::array<std::int32_t, 6>{0, 1, 2, 3, 4, 0});
    EXPECT(THROWN(aios::error, chosen.write("ids", std::array<std::int32_t, 6>{0, 1, 2, 3, 4, 5})).status() == AIOS_OUT_OF_RANGE);

    aios::graph wrong(context);
    wrong->linear(wrong->input("x", AIOS_F32, {4, 3}), wrong->parameter("w", {2, 5}, AIOS_INIT_ZERO, 0));
    EXPECT(THROWN(aios::error, wrong->finish()).status() == AIOS_INVALID_ARGUMENT);
}

void training_tells_and_stops()
{
    int steps = 0, lines = 0;
    aios::context_settings settings;
    aios::trainer *running = nullptr;
    settings.event = [&](std::string_view name, std::string_view) {
        if (name == "step" && ++steps == 3) running->stop();
        if (name == "step" && steps == 2) EXPECT(aios_trainer_run(running->get()) == AIOS_WRONG_STATE); // it runs already
    };
    settings.log = [&](int level, std::string_view) { lines += level <= AIOS_LOG_INFO; };
    const aios::context context(settings);
    const auto options = tiny_run(context, "stops", 6);
    aios::trainer trainer(context, options);
    running = &trainer;
    EXPECT(trainer.run() == aios::outcome::stopped && trainer.metrics().step == 3);
    EXPECT(trainer.run() == aios::outcome::done && steps == 6 && trainer.metrics().step == 6);
    EXPECT(trainer.parameters().size() > 5 && std::isfinite(trainer.parameters().read("wte.weight")[0]));

    const auto checkpoint = (folder / "stops/checkpoints/step-00000006").string();
    aios::options how(context, AIOS_SCOPE_GENERATE, {{"model", checkpoint}, {"max-tokens", 20}});
    aios::generator generator(context, how);
    const auto whole = generator.run("The ", 1);
    std::string some;
    generator.run("The ", 1, [&](std::string_view text) {
        some += text;
        return some.size() < 5;
    });
    EXPECT(whole.size() > some.size() && whole.compare(0, some.size(), some) == 0);
    EXPECT(THROWN(std::domain_error, generator.run("The ", 1, [](std::string_view) { throw std::domain_error("enough"); })).what() ==
           std::string("enough"));

    aios::options measure(
        context, AIOS_SCOPE_EVAL,
        {{"model", checkpoint}, {"dataset-file", notes()}, {"cache-dir", (folder / "cache").string()}, {"eval-batches", 2}});
    aios_evaluation all = AIOS_EVALUATION_INIT, none = AIOS_EVALUATION_INIT;
    std::int32_t stop = 0;
    EXPECT(aios::evaluate(context, measure, &stop, all) == aios::outcome::done && all.loss == aios::evaluate(context, measure).loss);
    stop = 1;
    EXPECT(aios::evaluate(context, measure, &stop, none) == aios::outcome::stopped && none.tokens == 0);
    auto anew = tiny_run(context, "unprepared", 6);
    anew.set("cache-dir", (folder / "unprepared-cache").string());
    EXPECT(THROWN(aios::error, aios::trainer(context, anew, &stop)).status() == AIOS_STOPPED);
    stop = 0;
    EXPECT(aios::trainer(context, anew, &stop).metrics().steps == 6);
}

void callbacks_may_throw()
{
    aios::context_settings settings;
    int events = 0;
    settings.event = [&](std::string_view name, std::string_view) {
        if (name == "step" && ++events == 2) throw std::out_of_range("two steps are enough");
    };
    const aios::context context(settings);
    const auto options = tiny_run(context, "throws", 1000);
    aios::trainer trainer(context, options);
    EXPECT(THROWN(std::out_of_range, trainer.run()).what() == std::string("two steps are enough"));
    EXPECT(trainer.metrics().step < 10); // it stopped
}

void a_model_of_ones_own_trains()
{
    const auto counted = std::make_shared<int>(0);
    {
        const aios::context context;
        const auto record = [counted](aios::graph_ref g, std::int32_t, std::int32_t batch, std::int32_t length) {
            ++*counted;
            const auto x =
                g.embedding(g.parameter("table", {257, 8}, AIOS_INIT_NORMAL, 1.0f), g.input("tokens", AIOS_I32, {batch, length}));
            g.cross_entropy(g.linear(x, g.parameter("out", {257, 8}, AIOS_INIT_ZERO, 0)), g.input("labels", AIOS_I32, {batch, length}));
        };
        const auto model = aios::model::custom(context, {"bigram", 257, 16}, record);
        EXPECT(model.name() == "bigram" && model.context_length() == 16 && counted.use_count() > 1);
        aios::trainer trainer(context, tiny_run(context, "own", 4), model);
        EXPECT(trainer.run() == aios::outcome::done && *counted > 0 && trainer.metrics().loss < 5.6);

        const auto broken = aios::model::custom(context, {"broken", 257, 16},
                                                [](aios::graph_ref, int, int, int) { throw std::logic_error("not written yet"); });
        EXPECT(THROWN(std::logic_error, aios::trainer(context, tiny_run(context, "broken", 4), broken)).what() ==
               std::string("not written yet"));
        EXPECT(THROWN(aios::error, aios::model::custom(context, {"", 0, 0}, record)).status() == AIOS_INVALID_ARGUMENT);
    }
    EXPECT(counted.use_count() == 1); // the callable went with the model
}

void a_corpus_has_parts()
{
    const aios::context context;
    const aios::tokenizer tokenizer(context, "bytes");
    const std::string path = notes(), cache = (folder / "cache").string();
    aios_dataset_options options = AIOS_DATASET_OPTIONS_INIT;
    options.path = path.c_str();
    options.cache_folder = cache.c_str();
    options.tokenizer = tokenizer.get();
    options.sequence_length = 16;
    options.split = AIOS_SPLIT_TRAIN;
    options.eval_fraction = 0.25;
    const aios::dataset train(context, options);
    const auto held = train.open_split(AIOS_SPLIT_EVAL);
    EXPECT(held.size() > 0 && held.size() < train.size() && held.order_identity() != train.order_identity());
    std::vector<std::int32_t> inputs(32), labels(32), first(16), beside(16);
    held.prefetch(0, 0, 2);
    held.read_range(0, 1, 2, inputs, labels);
    held.read(1, first, beside);
    EXPECT(std::equal(first.begin(), first.end(), inputs.begin()) && std::equal(beside.begin(), beside.end(), labels.begin()));
    EXPECT(THROWN(aios::error, held.read_range(0, 0, 3, inputs, labels)).status() == AIOS_OUT_OF_RANGE); // no room
    EXPECT(THROWN(aios::error, held.read_range(0, held.size(), 1, inputs, labels)).status() == AIOS_OUT_OF_RANGE);
}

void puzzles_train_too()
{
    const aios::context context;
    aios_sudoku_options sudoku = AIOS_SUDOKU_OPTIONS_INIT;
    sudoku.size = 4;
    sudoku.count = 8;
    const auto set = aios::puzzles::make_sudoku(context, sudoku);
    const auto another = aios::puzzles::make_sudoku(context, sudoku, &set); // the same seed: none of the same puzzles
    EXPECT(another[0].inputs != set[0].inputs && set[0].inputs.size() == static_cast<std::size_t>(set.info().length) &&
           set[0].identifier == 0);
    EXPECT(THROWN(aios::error, set[set.info().examples]).status() == AIOS_OUT_OF_RANGE);
    EXPECT(set.info().examples == 8 && set.info().length == 16);
    const auto data = (folder / "sudoku").string();
    set.save(data, "train");
    set.save(data, "test");
    aios::options options(context, AIOS_SCOPE_HRM,
                          {{"data-path", data}, {"save-dir", (folder / "hrm").string()}, {"steps", 2}, {"global-batch-size", 4}});
    options.set("hidden-size", 32).set("num-heads", 2).set("h-layers", 1).set("l-layers", 1).set("h-cycles", 1).set("l-cycles", 1);
    EXPECT(aios::hrm_train(context, options).examples == 8);
    EXPECT(THROWN(aios::error, aios::hrm_evaluate(context, options)).status() == AIOS_INVALID_ARGUMENT); // no model
}

void chunks_are_claimed_from_threads()
{
    const aios::context context;
    aios_chunk_tracker_options options = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    const auto path = (folder / "chunks").string();
    options.folder = path.c_str();
    options.total_samples = 1000;
    options.chunk_samples = 100;
    aios::chunk_tracker tracker(context, options);
    tracker.resume(0);
    std::uint64_t samples[2] = {0, 0};
    const auto work = [&](int worker) {
        aios_chunk_claim_options how = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
        how.last_epoch = 0;
        for (auto claim = tracker.claim(how); claim.outcome != AIOS_CHUNK_FINISHED; claim = tracker.claim(how)) {
            if (claim.outcome == AIOS_CHUNK_WAIT) continue;
            samples[worker] += claim.end - claim.first;
            tracker.complete(claim.token, 1, 1);
        }
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    tracker.commit(tracker.seal());
    EXPECT(samples[0] + samples[1] == 1000 && tracker.epoch(0).committed == 1000 && tracker.info().committed == 1);
    EXPECT(THROWN(aios::error, tracker.heartbeat(12345)).status() == AIOS_WRONG_STATE);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    folder = argv[1];
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    EXPECT(aios::version() == AIOS_VERSION_STRING);
    errors_are_exceptions();
    options_take_and_give_values();
    handles_move_and_outlive_their_context();
    text_and_arrays_pass();
    a_graph_runs();
    training_tells_and_stops();
    callbacks_may_throw();
    a_model_of_ones_own_trains();
    a_corpus_has_parts();
    puzzles_train_too();
    chunks_are_claimed_from_threads();
    if (failures == 0) std::puts("aios.hpp: ok");
    return failures == 0 ? 0 : 1;
}
