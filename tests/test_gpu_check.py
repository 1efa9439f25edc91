"""What `benchmarks/gpu_check.py` counts and refuses, in small programs written here."""

import argparse
import json
from pathlib import Path

import gpu_kernels
import gpu_report
import hlo
import own_process
import pytest
import scaling

ROOT = Path(__file__).parents[1]
H100 = gpu_kernels.gpu("h100")
NOTHING_EXPECTED = {"bfloat16": True, "attention": 0}
META = 'metadata={op_name="jit(train_step)/%s" stack_frame_id=1}'


def program(*entry, others=""):
    """A program of these instructions, and of other computations."""
    lines = "\n".join(f"  {line}" for line in entry)
    head = "ENTRY %main (a: f32[]) -> f32[] {"
    return f"HloModule jit_train_step\n{others}\n{head}\n{lines}\n}}\n"


def only_kernel(text):
    (kernel,) = gpu_kernels.kernels(hlo.parse(text))
    return kernel


def faults(text, **expected):
    module = hlo.parse(text)
    found = list(gpu_kernels.kernels(module))
    return gpu_report.faults(module, found, **NOTHING_EXPECTED | expected)


PRODUCT = """
%gemm (p0: bf16[64,32], p1: bf16[32,16]) -> bf16[64,16] {
  %p0 = bf16[64,32]{1,0} parameter(0)
  %p1 = bf16[32,16]{1,0} parameter(1)
  ROOT %dot = bf16[64,16]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_dims
}
"""
FUSED_PRODUCT = (
    "%a = bf16[64,32]{1,0} parameter(0)",
    "%b = bf16[32,16]{1,0} parameter(1)",
    "ROOT %f = bf16[64,16]{1,0} fusion(%a, %b), kind=kCustom, calls=%gemm, "
    + META % "transpose(jvp(layer11))/attention/dot_general",
)


def test_a_fused_product_has_its_bytes_flops_and_part():
    kernel = only_kernel(program(*FUSED_PRODUCT, others=PRODUCT))
    assert kernel.kind == "product"
    assert kernel.part == "layer attention backward"
    assert kernel.flops == 2 * 64 * 32 * 16
    assert kernel.nbytes == 2 * (64 * 32 + 32 * 16 + 64 * 16)
    assert kernel.dtype == "bf16"
    assert kernel.seconds(H100, 1) == gpu_kernels.LAUNCH
    float32 = program(*FUSED_PRODUCT, others=PRODUCT).replace("bf16", "f32")
    assert only_kernel(float32).dtype == "tf32"
    exact = float32.replace("rhs_dims", "operand_precision={highest,highest}")
    assert only_kernel(exact).dtype == "f32"


@pytest.mark.parametrize(
    ("target", "result", "operands"),
    [
        ("convForward", "[256,7,7,32]", ("[256,28,28,3]", "[32,4,4,3]")),
        ("convBackwardInput", "[256,28,28,3]", ("[256,7,7,32]", "[32,4,4,3]")),
        ("convBackwardFilter", "[32,4,4,3]", ("[256,28,28,3]", "[256,7,7,32]")),
    ],
)
def test_a_convolution_and_its_gradients_have_the_same_flops(target, result, operands):
    kernel = only_kernel(
        program(
            *(f"%p{i} = bf16{x} parameter({i})" for i, x in enumerate(operands)),
            f"%c = (bf16{result}{{3,2,1,0}}, u8[1048576]{{0}}) custom-call(%p0, %p1),"
            " window={size=4x4 stride=4x4}, dim_labels=b01f_o01i->b01f,"
            f' custom_call_target="__cudnn${target}"',
        )
    )
    assert kernel.kind == "convolution"
    assert kernel.flops == 2 * (256 * 7 * 7 * 32) * (4 * 4 * 3)
    assert kernel.nbytes == 2 * (256 * 28 * 28 * 3 + 256 * 7 * 7 * 32 + 32 * 4 * 4 * 3)


def attention(name="fmhaSoftmax"):
    dims = '"dimensions": ["8", "2", "50", "50"]'
    return program(
        "%q = bf16[8,50,2,16]{3,2,1,0} parameter(0)",
        "%o = (bf16[8,2,50,16]{3,1,2,0}, f32[8,2,50]{2,1,0}, u8[0]{0})"
        f' custom-call(%q, %q, %q), custom_call_target="__cudnn${name}",'
        f' backend_config={{"x": {{"intermediate_tensor_shape": {{"t": 1, {dims}}}}}}}',
    )


def test_attention_is_counted_and_missed():
    assert only_kernel(attention()).flops == 2 * 2 * 8 * 2 * 50 * 50 * 16
    backward = only_kernel(attention("fmhaSoftmaxBackward"))
    assert backward.flops == 2.5 * only_kernel(attention()).flops
    assert faults(attention(), attention=1) == []
    assert "1 calls of cuDNN's attention, but 2" in faults(attention(), attention=2)[0]


CUT = """
%cut (p0: u8[48000,784], p1: s32[64]) -> u8[64,784] {
  %p1 = s32[64]{0} parameter(1)
  %p0 = u8[48000,784]{1,0} parameter(0)
  ROOT %g = u8[64,784]{1,0} gather(%p0, %p1), offset_dims={1}
}
"""


def test_a_kernel_reads_what_it_cuts_out():
    kernel = only_kernel(
        program(
            "%images = u8[48000,784]{1,0} parameter(0)",
            "%rows = s32[64]{0} parameter(1)",
            "ROOT %f = u8[64,784]{1,0} fusion(%images, %rows), kind=kLoop, calls=%cut",
            others=CUT,
        )
    )
    assert kernel.kind == "elementwise"
    assert kernel.nbytes == 2 * 64 * 784 + 4 * 64


LOOP = """
%sum (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %z = f32[] add(%x, %y)
}
%body (p: f32[512,512]) -> f32[512,512] {
  %p = f32[512,512]{1,0} parameter(0)
  ROOT %all-reduce.1 = f32[512,512]{1,0} all-reduce(%p), to_apply=%sum
}
"""


def loop(attributes=""):
    return program(
        "%w = f32[512,512]{1,0} parameter(0), "
        + "metadata={op_name=\"state.params['w']\"}",
        "ROOT %l = f32[512,512]{1,0} while(%w), condition=%c, body=%body" + attributes,
        others=LOOP,
    )


KNOWN = ', backend_config={"known_trip_count":{"n":"4"}}'


def test_loops_count_their_kernels_and_must_have_a_length():
    kernel = only_kernel(loop(KNOWN))
    assert (kernel.kind, kernel.times, kernel.loops) == ("collective", 4, 1)
    assert kernel.nbytes == 2 * 4 * 512 * 512
    assert any("the host steps a loop: l" in fault for fault in faults(loop()))
    sums, *more = faults(loop(KNOWN))
    assert "a loop sums 1.0 MB over the devices each time" in sums
    assert not more
    assert faults(loop(KNOWN), step_loops=1) == []  # a loop of whole steps must


@pytest.mark.parametrize(
    ("code", "given", "result", "sent"),
    [
        ("all-reduce", 8, "f32[8]", 2 * 32),
        ("reduce-scatter", 8, "f32[2]", 32),
        ("all-gather", 2, "f32[8]", 32),
        ("all-gather-start", 2, "(f32[2], f32[8])", 32),
        ("all-reduce-start", 8, "((f32[8]), f32[8])", 2 * 32),
    ],
)
def test_a_collective_sends_what_its_kind_sends(code, given, result, sent):
    text = program(
        f"%a = f32[{given}]{{0}} parameter(0)",
        f"ROOT %{code}.1 = {result} {code}(%a), replica_groups=[1,4]",
    )
    kernel = only_kernel(text)
    assert kernel.kind == "collective"
    assert scaling.sent(kernel.name, kernel.nbytes / 2, 4) == sent * 3 / 4


REDUCED = """
%adds (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[] parameter(0)
  %y = bf16[] parameter(1)
  ROOT %z = bf16[] add(%x, %y)
}
"""


def test_sums_products_and_activations_of_a_bfloat16_program():
    reduced = program(
        "%a = bf16[64,32]{1,0} parameter(0)",
        "%z = bf16[] constant(0)",
        "ROOT %r = bf16[32]{0} reduce(%a, %z), dimensions={0}, to_apply=%adds",
        others=REDUCED,
    )
    (fault,) = faults(reduced)
    assert "a sum in bfloat16: r" in fault
    assert faults(reduced, bfloat16=False) == []
    assert (
        faults(reduced.replace("ROOT %z = bf16[] add", "ROOT %z = bf16[] maximum"))
        == []
    )
    product = program(*FUSED_PRODUCT, others=PRODUCT)
    assert faults(product) == []
    (fault,) = faults(product.replace("bf16", "f32"))
    assert "a product in float32: f (layer attention backward)" in fault
    wide = program(
        "%a = bf16[4096,768]{1,0} parameter(0)",
        "ROOT %e = f32[4096,768]{1,0} exponential(%a), " + META % "layer3/exp",
    )
    (fault,) = faults(wide)
    assert fault == "13 MB of float32 activations: layer"
    assert faults(wide.replace("layer3", "optimizer")) == []


def test_memory_kernels_and_bytes_have_limits():
    assert gpu_report.memory_faults(70 * 10**9, H100) == []
    (fault,) = gpu_report.memory_faults(80 * 10**9, H100)
    assert "80.0 GB, but 76.4 GB" in fault
    before = {"kernels": 100, "megabytes": 50.0}
    assert gpu_report.grown(before, {"kernels": 103, "megabytes": 49.0}) == []
    faults = gpu_report.grown(before, {"kernels": 104, "megabytes": 52.0})
    assert [fault.split()[1] for fault in faults] == ["kernels,", "megabytes,"]
    assert gpu_report.grown({}, before) == []


def test_fields_are_changed_and_other_words_refused(capsys):
    parser = argparse.ArgumentParser()
    words = ["--config.optimizer.mu_dtype=int8", "--config.seed=1"]
    expected = {"optimizer.mu_dtype": "int8", "seed": "1"}
    assert own_process.changes(words, parser) == expected
    with pytest.raises(SystemExit):
        own_process.changes(["--wirte"], parser)
    assert "'--wirte' is no option" in capsys.readouterr().err


def test_gpus_are_described_with_their_memory():
    names = {name: gpu_kernels.gpu(name) for name in gpu_kernels.PEAKS}
    gigabytes = {name: round(gpu.memory / 1e9) for name, gpu in names.items()}
    assert gigabytes == {"a100": 85, "h100": 85, "h200": 149}
    described = {path.stem for path in gpu_kernels.GPUS.glob("*.txtpb")}
    assert described == gpu_kernels.PEAKS.keys()


def test_every_shipped_configuration_has_figures_on_all_gpus_and_no_fault():
    paths = sorted((ROOT / "results" / "gpu_check").glob("*.json"))
    shipped = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert {path.stem for path in paths} == shipped
    places = {f"{gpu} x {n}" for gpu in gpu_kernels.PEAKS for n in (1, 8)}
    for path in paths:
        found = json.loads(path.read_text())
        assert found.keys() == places, path.stem
        for place, programs in found.items():
            assert programs.keys() == {"training", "evaluation", "optimizer", "init"}
            for name, row in programs.items():
                assert row["faults"] == [], (path.stem, place, name)
