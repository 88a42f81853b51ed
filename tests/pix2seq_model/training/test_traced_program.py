"""A traced function as operations: what is counted, and what a processor copies first."""

import jax
import jax.numpy as jnp
import pytest

from pix2seq_model.network.dropout import bits_on_jax
from pix2seq_model.training.step_costs import Size
from pix2seq_model.training.traced_program import PRIME_BATCH, Program


def program(function, *shapes, processor=False):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    traced = jax.make_jaxpr(function)(*arguments)
    found = Program(processor=processor)
    found.add(traced.jaxpr, [found.new(variable.aval) for variable in traced.jaxpr.invars])
    return found


def names(found):
    return [operation.name for operation in found.operations]


def test_a_product_grows_with_the_batch():
    found = program(jnp.dot, (PRIME_BATCH, 8), (8, 4))
    assert found.products == Size(0.0, 2 * 8 * 4)
    assert found.sizes[found.operations[-1].writes[0]] == Size(0.0, 16.0)


def test_a_convolution_does_not_multiply_its_padding():
    def convolution(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    found = program(convolution, (PRIME_BATCH, 3, 3, 1), (3, 3, 1, 1))
    # Along a side of three: two, three and two of the kernel's three are inside.
    assert found.products == Size(0.0, 2 * 7 * 7)


def scores(query, key):
    return jnp.einsum("bqhc,bkhc->bhqk", query, key)


def test_a_processor_copies_operands_that_are_not_in_its_order():
    shapes = [(PRIME_BATCH, 5, 2, 3), (PRIME_BATCH, 7, 2, 3)]
    assert names(program(scores, *shapes)) == ["dot_general"]
    found = program(scores, *shapes, processor=True)
    assert names(found) == ["copy", "copy", "dot_general"]


def test_a_copy_serves_all_products_that_read_in_its_order():
    def twice(query, key):
        return scores(query, key) + scores(query, key + 1)

    shapes = [(PRIME_BATCH, 5, 2, 3), (PRIME_BATCH, 7, 2, 3)]
    assert names(program(twice, *shapes, processor=True)).count("copy") == 3


def test_a_processor_reads_a_single_product_in_any_order():
    def gradient(left, right):
        return left.T @ right

    assert "copy" not in names(program(gradient, (5, 3), (5, 4), processor=True))


def test_a_loop_is_its_body_again_and_again_with_the_buffers_of_one():
    def rows(left, right):
        def row(total, part):
            wide = jnp.sum(jnp.exp(part @ right), axis=-1, keepdims=True)
            return total + jnp.sum(wide), part + wide

        return jax.lax.scan(row, 0.0, left)

    found = program(rows, (3, PRIME_BATCH, 8), (8, 50))
    (loop,) = [operation for operation in found.operations if operation.name == "scan"]
    assert found.products == Size(0.0, 3 * 2 * 8 * 50)
    *_, results, buffers = (found.sizes[value] for value in loop.writes)
    assert results == Size(0.0, 4 * 3 * 8)
    assert 4 * 50 <= buffers.each < 2 * 4 * 50


def test_a_hash_counts_by_its_words():
    def bits(seed):
        return bits_on_jax(seed.astype("uint32"), [PRIME_BATCH], 8)

    found = program(bits, (2,))
    hashes = [o for o in found.operations if o.name == "threefry2x32"]
    assert len(hashes) == 1
    # Two hashes of two words serve eight elements.
    assert [found.sizes[value] for value in hashes[0].writes] == [Size(0.0, 8.0)] * 2


@pytest.mark.parametrize(("processor", "size"), [(False, 4.0), (True, 8.0)])
def test_random_bits_are_two_halves_on_a_processor(processor, size):
    def bits():
        return jax.random.bits(jax.random.key(0), (PRIME_BATCH,))

    found = program(bits, processor=processor)
    (drawn,) = [o for o in found.operations if o.name in ("random_bits", "while")]
    assert (drawn.name == "while") == processor
    assert found.sizes[drawn.writes[0]] == Size(0.0, size)
