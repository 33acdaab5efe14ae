/* custom_model.cpp: a model of your own, trained by the trainer: data, checkpoints, evaluation and devices are its business.
 *
 * The model is a small transformer that reads bytes: each block lets every position look back at the ones before it (attention),
 * then thinks about what it saw (SwiGLU).
 *
 *     c++ -std=c++17 custom_model.cpp $(pkg-config --cflags --libs libaios) -o custom_model && ./custom_model notes.txt runs/mine */
#include <aios/aios.hpp>

#include <cmath>
#include <cstdio>

namespace
{

constexpr std::int32_t vocabulary = 257, width = 64, heads = 4, blocks = 2; /* tokenizer "bytes": 256 ids and end of text */

aios::tensor linear(aios::graph_ref g, aios::tensor x, const std::string &name, std::int32_t in, std::int32_t out)
{
    return g.linear(x, g.parameter(name, {out, in}, AIOS_INIT_NORMAL, 1 / std::sqrt(float(in))));
}

/* Recording computes nothing: it says what is to be computed.  mode: AIOS_MODEL_TRAIN, or _EVAL without gradients. */
void record(aios::graph_ref g, std::int32_t mode, std::int32_t batch, std::int32_t length)
{
    if (mode == AIOS_MODEL_DECODE) throw std::runtime_error("this model is not made for generation");
    const auto tokens = g.input("tokens", AIOS_I32, {batch, length}), labels = g.input("labels", AIOS_I32, {batch, length});
    auto x = g.embedding(g.parameter("table", {vocabulary, width}, AIOS_INIT_NORMAL, 0.5f), tokens); /* (batch, length, width) */
    aios_attention_options attention = AIOS_ATTENTION_OPTIONS_INIT;
    attention.heads = heads;
    attention.causal = 1;
    attention.rope_theta = 10000;
    for (std::int32_t i = 0; i < blocks; i++) {
        const auto block = "block" + std::to_string(i);
        const auto seen = g.attention(linear(g, g.rmsnorm(x), block + ".qkv", width, 3 * width), attention);
        x = g.add(x, linear(g, seen, block + ".mix", width, width));
        const auto thought = g.swiglu(linear(g, g.rmsnorm(x), block + ".up", width, 4 * width));
        x = g.add(x, linear(g, thought, block + ".down", 2 * width, width));
        g.mark(); /* gradient checkpointing may forget what lies between two marks */
    }
    g.cross_entropy(linear(g, g.rmsnorm(x), "head", width, vocabulary), labels);
}

} // namespace

int main(int argc, char **argv)
try {
    if (argc != 3) throw std::invalid_argument("usage: custom_model TEXT-FILE RUN-FOLDER");
    aios::context_settings settings;
    settings.event = [](std::string_view name, std::string_view json) {
        if (name == "step" || name == "eval") std::printf("%.*s %.*s\n", int(name.size()), name.data(), int(json.size()), json.data());
    };
    const aios::context context(settings);
    const auto model = aios::model::custom(context, {"bytes_transformer", vocabulary, 64}, record);
    aios::options options(context, AIOS_SCOPE_TRAIN, {{"dataset-file", argv[1]}, {"save-dir", argv[2]}, {"tokenizer", "bytes"}});
    options.set("max-seq-len", 64).set("steps", 100).set("lr", 3e-3).set("log-interval", 20).set("eval-fraction", 0.1);
    aios::trainer trainer(context, options, model);
    trainer.run();
    std::printf("loss %.4f; a guess would have %.4f\n", trainer.metrics().loss, std::log(vocabulary));
    return trainer.metrics().loss < std::log(vocabulary) ? 0 : 1;
} catch (const std::exception &e) {
    std::fprintf(stderr, "custom_model: %s\n", e.what());
    return 1;
}
