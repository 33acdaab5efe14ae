"""Models by the graph API: recording, running, gradients, optimizing."""
import array
import json
import math
import random

import pytest

import aios


def linear_graph():
    g = aios.Graph()
    x, y = g.input("x", [4, 2], "f32"), g.input("y", [4], "i32")
    logits = g.linear(x, g.parameter("w", [3, 2], init="normal", scale=0.5), g.parameter("b", [3], init="zero", group="no_decay"))
    g.output("logits", logits)
    g.output("losses", g.cross_entropy(logits, y))
    return g.finish()


def test_shapes_are_known_while_recording():
    g = aios.Graph()
    x = g.input("x", [2, 5, 8], "f32")
    w = g.parameter("w", [24, 8])
    qkv = g.linear(x, w)
    y = g.attention(qkv, heads=2, causal=True)
    assert (x.shape, qkv.shape, y.shape) == ((2, 5, 8), (2, 5, 24), (2, 5, 8))
    assert (y + x).shape == (2 * y).shape == (2, 5, 8)
    assert g.reshape(y, [10, 8]).shape == (10, 8) and g.slice(y, 1, 2, 3).shape == (2, 3, 8) and g.concat(y, x, 2).shape == (2, 5, 16)
    assert g.parameter_count == 1 and "i32" in repr(g.input("ids", [3]))
    with g.no_gradient():
        assert g.detach(y).shape == y.shape


def test_a_mistake_is_raised_where_it_is_made():
    g = aios.Graph()
    x = g.input("x", [2, 8], "f32")
    with pytest.raises(aios.InvalidArgumentError, match="8.*9|9.*8"):
        g.linear(x, g.parameter("w", [4, 9]))
    with pytest.raises(ValueError, match="init is 'normall'"):
        g.parameter("w", [4], init="normall")
    with pytest.raises(TypeError):
        x + 1


def test_a_plan_computes_what_was_recorded():
    g = linear_graph()
    p = aios.Parameters("cpu", g).initialize(3)
    assert list(p) == ["w", "b"] and len(p) == 2 and p.total == 9 and p.shape("w") == (3, 2)
    p.write("w", [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    plan = aios.Plan(g, p, training=True)
    optimizer = aios.Optimizer(p, "sign-sgd", weight_decay=0.0, max_norm=0.0)
    optimizer.begin(0.5, 4)
    plan.run(x=array.array("f", [1, 2] * 4), y=[0, 1, 2, -1])
    logits = [list(map(float, row)) for row in plan.read("logits").tolist()]
    assert logits == [[1, 2, 0]] * 4
    total = sum(math.exp(v) for v in (1, 2, 0))
    expected = [math.log(total) - v for v in (1, 2, 0)]
    assert plan.read("losses").tolist()[:3] == pytest.approx(expected, abs=1e-5)
    losses = plan.losses()
    assert losses.rows == 3 and losses.hits == 1 and losses.loss == pytest.approx(sum(expected) / 3, abs=1e-5)
    assert losses.accuracy == pytest.approx(1 / 3) and math.isnan(plan.losses().loss)
    gradient = p.read("b", "gradient").tolist()  # sum over labels that count of (softmax - one-hot), divided by the weight
    assert gradient == pytest.approx([(3 * math.exp(v) / total - 1) / 4 for v in (1, 2, 0)], abs=1e-5)
    optimizer.step()
    result = optimizer.result()
    assert result.finite and result.skipped == 0
    assert p["b"].tolist() == [-math.copysign(0.5, v) for v in gradient]


def test_names_and_types_that_are_wrong_are_named():
    g = linear_graph()
    p = aios.Parameters("cpu", g, training=False)
    plan = aios.Plan(g, p)
    with pytest.raises(LookupError, match="no input is called 'z': x, y"):
        plan.write("z", [1])
    with pytest.raises(LookupError, match="no output is called 'z': logits, losses"):
        plan.read("z")
    with pytest.raises(TypeError, match="input y has elements of type i32, not f32"):
        plan.write("y", array.array("f", [1, 2, 3, 4]))
    with pytest.raises(aios.Error):
        plan.write("y", [1, 2, 3])
    with pytest.raises(LookupError, match="'nope'"):
        p["nope"]
    with pytest.raises(aios.WrongStateError, match="gradients"):
        p.read("w", "gradient")
    with pytest.raises(TypeError, match="an optimizer has no momentum: beta1"):
        aios.Optimizer(p, momentum=0.9)


def test_a_custom_model_learns():
    """A network with one hidden layer learns exclusive or."""
    g = aios.Graph()
    h = g.input("x", [4, 2], "f32")
    for name, (n, m) in {"one": (2, 16), "two": (16, 2)}.items():
        h = g.linear(h, g.parameter(name + ".w", [m, n], scale=0.7), g.parameter(name + ".b", [m], init="zero"), activation="gelu" if m > 2 else None)
    g.cross_entropy(h, g.input("y", [4]))
    p = aios.Parameters("cpu", g.finish()).initialize(1)
    plan, optimizer = aios.Plan(g, p, training=True), aios.Optimizer(p, weight_decay=0.0)
    for _ in range(200):
        optimizer.begin(3e-2, 4)
        plan.run(x=[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], y=[0, 1, 1, 0])
        optimizer.step()
    plan.losses()
    plan.run()
    assert plan.losses().accuracy == 1


def test_a_loop_of_ones_own_can_be_saved_and_goes_on_bit_by_bit():
    def begin():
        g = linear_graph()
        p = aios.Parameters("cpu", g).initialize(3)
        return p, aios.Plan(g, p, training=True), aios.Optimizer(p)

    def steps(plan, optimizer, count):
        for _ in range(count):
            optimizer.begin(0.1, 4)
            plan.run(x=[[1.0, 2.0]] * 4, y=[0, 1, 2, 0])
            optimizer.step()

    p, plan, optimizer = begin()
    steps(plan, optimizer, 2)
    saved = {(name, kind): p.read(name, kind) for name in p for kind in ("value", "moment1", "moment2")}, optimizer.state
    steps(plan, optimizer, 2)
    q, other, another = begin()
    for (name, kind), values in saved[0].items():
        q.write(name, values, kind)
    another.state = saved[1]
    steps(other, another, 2)
    assert all(p.read(name).tolist() == q.read(name).tolist() for name in p)
    assert 0 < plan.memory.activations <= plan.memory.unshared and plan.memory.instructions > 0


def test_tensors_of_another_graph_are_refused():
    g, other = aios.Graph(), aios.Graph()
    x, there = g.input("x", [2, 8], "f32"), other.input("x", [2, 8], "f32")
    for call in (lambda: g.add(x, there), lambda: g.gelu(there), lambda: x + there, lambda: g.output("y", there)):
        with pytest.raises(ValueError, match="another graph"):
            call()
    with pytest.raises(TypeError, match="not NoneType"):
        g.gelu(None)


def test_a_transposed_array_is_refused():
    numpy = pytest.importorskip("numpy")
    g = linear_graph()
    p = aios.Parameters("cpu", g, training=False)
    plan = aios.Plan(g, p)
    for write in (lambda made: p.write("w", made((2, 3), "f4")), lambda made: plan.write("x", made((2, 4), "f4"))):
        with pytest.raises(ValueError, match=r"has the shape \((3|4), 2\), not \(2, (3|4)\)"):
            write(numpy.zeros)
    p.write("w", numpy.zeros((3, 2), "f4"))
    p.write("w", [1, 2, 3, 4, 5, 6])  # a row of all of it


def test_a_graph_that_was_lent_ends_with_the_call():
    kept = []

    def record(g, mode, batch, sequence):
        kept.append((g, g.parameter("t", [5, 8])))
        logits = g.linear(g.embedding(kept[-1][1], g.input("tokens", [batch, sequence])), g.parameter("w", [5, 8]))
        g.output("losses", g.cross_entropy(logits, g.input("labels", [batch, sequence])))

    model = aios.Model.custom(record, vocabulary_size=5, context_length=4)
    p = model.parameters(training=False).initialize(1)
    for g, table in kept:
        with pytest.raises(aios.WrongStateError, match="closed"):
            g.gelu(table)
        assert "closed" in repr(table)
    plan = aios.Plan(model.record("eval", 2, 3), p)  # what the function named is known
    plan.run(tokens=[[0, 1, 2], [3, 4, 0]], labels=[[1, 2, 3], [4, 0, 1]])
    assert plan.losses().rows == 6 and plan.read("losses").shape == (2, 3)
    with pytest.raises(aios.NotFoundError, match="tokens, labels"):
        plan.write("x", [1])


def test_an_id_that_has_no_row_is_refused():
    model = aios.Model({"model_type": "gpt2", "vocab_size": 40, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2})
    plan = aios.Plan(model.record("eval", 1, 4), model.parameters().initialize(1))
    plan.run(tokens=[[0, 1, 2, 39]], labels=[[1, 2, 3, -100]])
    assert plan.losses().rows == 3
    for id in (40, -1, 2**31 - 1):
        with pytest.raises(aios.OutOfRangeError, match=f"tokens.*number 2 is {id}: 0 to 39"):
            plan.write("tokens", [[0, 1, id, 3]])
    with pytest.raises(aios.NotFoundError, match="losses"):
        plan.read("logits")


def test_regions_end_before_the_graph_does():
    g = aios.Graph()
    aios.lib.aios_graph_begin_auxiliary(g.handle)
    with pytest.raises(aios.WrongStateError, match="auxiliary region was begun"):
        g.finish()


def test_weights_that_are_named_twice_stay_as_they_were():
    """Tied weights: the second time says nothing of whether they are trained."""
    g = aios.Graph()
    x, w = g.input("x", [2, 3], "f32"), g.parameter("w", [3, 3])
    y = g.linear(g.linear(x, w), g.parameter("w", [3, 3], group="frozen"))
    g.cross_entropy(y, g.input("y", [2]))
    p = aios.Parameters("cpu", g.finish()).initialize(3)
    plan, optimizer = aios.Plan(g, p, training=True), aios.Optimizer(p)
    optimizer.begin(0.1, 2)
    plan.run(x=[[1, 2, 3], [4, 5, 6]], y=[0, 1])
    assert any(value != 0 for row in p.read("w", "gradient").tolist() for value in row)


def test_an_auxiliary_loss_flows_back_untold():
    def gradient(auxiliary):
        g = aios.Graph()
        w = g.parameter("w", [3, 2], init="constant", scale=0.5)
        logits, labels = g.linear(g.input("x", [1, 2], "f32"), w), g.input("y", [1])
        g.cross_entropy(logits, labels)
        if auxiliary:
            with g.auxiliary():
                g.cross_entropy(logits, labels)
        p = aios.Parameters("cpu", g.finish()).initialize()
        plan, optimizer = aios.Plan(g, p, training=True), aios.Optimizer(p)
        optimizer.begin(0.1, 1)
        plan.run(x=[[1.0, 2.0]], y=[1])
        return p.read("w", "gradient").tolist(), plan.losses()

    (one, told), (two, both) = gradient(False), gradient(True)
    assert told == both and [[2 * value for value in row] for row in one] == two


def test_closing_what_others_need_closes_them_first():
    g = linear_graph()
    device = aios.GPUDevice("cpu")
    p = aios.Parameters(device, g)
    plan, optimizer = aios.Plan(g, p, training=True), aios.Optimizer(p)
    device.close()
    assert plan.closed and optimizer.closed and p.closed


def test_the_librarys_own_models_are_recorded_loaded_and_saved(tmp_path):
    config = {"model_type": "gpt2", "vocab_size": 40, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}
    model = aios.Model(config)
    assert (model.name, model.vocabulary_size, model.context_length, model.config["n_embd"]) == ("gpt2", 40, 16, 8)
    p = model.parameters(training=False).initialize(random.Random(0).randrange(1000))
    model.save(p, tmp_path / "saved", dtype="f32")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["n_embd"] == 8
    again = aios.Model.open(tmp_path / "saved").load(tmp_path / "saved")
    assert again.read("wte.weight").tolist() == p.read("wte.weight").tolist()
    with pytest.raises(aios.Error, match="n_head|heads"):
        aios.Model({**config, "n_head": 3})
    graph = model.record("eval", 2, 8)
    assert graph.parameter_count == len(p)


def test_the_chosen_experts_alone_are_all_of_them_times_the_gates():
    g = aios.Graph()
    x = g.input("x", [5, 6], "f32")
    gates = g.expert_gates(g.linear(x, g.parameter("router", [4, 6], scale=1.0)), chosen=2)
    up, down = g.parameter("up", [2 * 4 * 3, 6], scale=1.0), g.parameter("down", [6, 4 * 3], scale=1.0)
    rows = g.expert_linear(g.expert_rows(x, gates), gates, up, parts=2)
    assert rows.shape == (10, 6)
    g.output("chosen", g.expert_sum(g.expert_linear(g.swiglu(rows), gates, down), gates))
    g.output("all", g.linear(g.expert_scale(g.swiglu(g.linear(x, up)), gates), down))
    plan = aios.Plan(g, aios.Parameters("cpu", g.finish()).initialize(1))
    numbers = random.Random(1)
    plan.run(x=[[numbers.uniform(-1, 1) for _ in range(6)] for _ in range(5)])
    chosen, everything = plan.read("chosen").tolist(), plan.read("all").tolist()
    assert any(value for row in everything for value in row)
    assert all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for one, other in zip(chosen, everything) for a, b in zip(one, other))
