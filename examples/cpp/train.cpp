/* train.cpp: trains a small GPT-2 on a text file, then continues a prompt with what it has learned.
 *
 *     c++ -std=c++17 train.cpp $(pkg-config --cflags --libs libaios) -o train && ./train notes.txt runs/notes 500
 *
 * Whatever fails is an aios::error with a sentence; whatever was opened is closed by the end of its scope. */
#include <aios/aios.hpp>

#include <cstdio>
#include <iostream>

/* Events come as JSON.  A program with a JSON library would use that. */
static std::string_view field(std::string_view json, std::string_view name)
{
    const auto at = json.find(name);
    return at == json.npos ? "?" : json.substr(at + name.size(), json.find_first_of(",}", at) - at - name.size());
}

static void on_event(std::string_view name, std::string_view json)
{
    if (name == "step") std::cout << "step " << field(json, "\"step\": ") << "  loss " << field(json, "\"loss\": ") << '\n';
}

/* The folder of the last checkpoint. */
static std::string train(const aios::context &context, const std::string &file, const std::string &folder, int steps)
{
    aios::options options(context, AIOS_SCOPE_TRAIN, {{"dataset-file", file}, {"save-dir", folder}, {"steps", steps}});
    options.set("n-layer", 2).set("n-head", 2).set("n-embd", 64).set("max-seq-len", 64);
    options.set("lr", 3e-3).set("log-interval", 10).set("resume", true); /* run it again with more steps, and it goes on */

    aios::trainer trainer(context, options);
    trainer.run();
    const auto metrics = trainer.metrics();
    std::cout << "loss " << metrics.loss << " after " << metrics.tokens << " tokens\n";
    char checkpoint[32];
    std::snprintf(checkpoint, sizeof checkpoint, "/checkpoints/step-%08lld", static_cast<long long>(metrics.step));
    return std::string(trainer.folder()) + checkpoint;
}

static void generate(const aios::context &context, const std::string &checkpoint, std::string_view prompt)
{
    aios::options options(context, AIOS_SCOPE_GENERATE, {{"model", checkpoint}, {"max-tokens", 100}});
    aios::generator generator(context, options);
    std::cout << prompt;
    generator.run(prompt, 1, [](std::string_view text) { std::cout << text << std::flush; });
    std::cout << '\n';
}

int main(int argc, char **argv)
try {
    if (argc != 4) throw std::invalid_argument("usage: train TEXT-FILE RUN-FOLDER STEPS");
    aios::context_settings settings;
    settings.event = on_event;
    const aios::context context(settings);

    generate(context, train(context, argv[1], argv[2], std::stoi(argv[3])), "The ");
    return 0;
} catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
