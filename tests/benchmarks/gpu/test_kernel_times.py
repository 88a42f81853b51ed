"""Kernels by their scope; the program and the events are literal, as XLA and a GPU make them."""

from benchmarks.gpu.kernel_times import ScopeTime, flash_kernels, scopes, short_scope, summed

BACKWARD = "jit(_next_state)/transpose(jvp(pix2seq))/encoder/layer11/mlp/expand/dot_general"
FORWARD = "jit(_next_state)/jvp(pix2seq)/decoder/layer0/mlp/add"
TEXT = f"""
  %fusion.7 = bf16[8]{{0}} fusion(%a), calls=%c, metadata={{op_name="{BACKWARD}" source_line=3}}
  ROOT %dot.1 = f32[] custom-call(%b), metadata={{op_name="{FORWARD}"}}
  %copy.2 = f32[8]{{0}} copy(%b)
  %f.1 = (f32[]) custom-call(%q), custom_call_target="__cudnn$fmhaSoftmax"
  %f.2 = (f32[]) custom-call(%q), custom_call_target="__cudnn$fmhaSoftmaxBackward"
"""


def test_instructions_have_the_scope_of_the_source():
    assert scopes(TEXT) == {
        "fusion.7": BACKWARD,
        "dot.1": FORWARD,
    }


def test_scopes_of_all_layers_are_one():
    assert short_scope(BACKWARD) == "encoder/layer/mlp/expand/dot_general"
    assert short_scope("jit(_next_state)/adamw/mul") == "adamw/mul"
    assert short_scope("jit(_next_state)/jvp()/reduce") == "reduce"
    assert short_scope("") == "unknown"


def test_times_are_the_mean_of_a_call_by_falling_time():
    events = [("fusion.7", 3e6), ("dot.1", 1e6), ("fusion.7", 3e6), ("dot.1", 1e6), ("copy.2", 4e6)]
    assert summed(events, scopes(TEXT), calls=2) == [
        ScopeTime("encoder/layer/mlp/expand/dot_general", True, 3.0, 1.0),
        ScopeTime("unknown", False, 2.0, 0.5),
        ScopeTime("decoder/layer/mlp/add", False, 1.0, 1.0),
    ]


def test_calls_of_flash_attention_are_counted_both_ways():
    assert flash_kernels(TEXT) == 2
