"""Which values are buffers, and how long they live: small programs, written out."""

from pix2seq_model.training.buffer_plan import Operation, live_bytes
from pix2seq_model.training.step_costs import Size

ARRAY, BIAS = Size(0.0, 100.0), Size(8.0)


def live(*operations, sizes, arguments=(0,), results=(), processor=False):
    program = [Operation(*operation) for operation in operations]
    found = live_bytes(program, sizes, arguments=arguments, results=results, processor=processor)
    return [size.each for size in found]


def test_a_buffer_lives_until_it_is_read_last():
    products = [
        ("dot_general", (0,), (1,)),
        ("dot_general", (1,), (2,)),
        ("dot_general", (2,), (3,)),
    ]
    assert live(*products, sizes=[ARRAY] * 4) == [100, 200, 200]


def test_what_the_program_returns_lives_to_its_end():
    products = [
        ("dot_general", (0,), (1,)),
        ("dot_general", (0,), (2,)),
        ("dot_general", (0,), (3,)),
    ]
    assert live(*products, sizes=[ARRAY] * 4, results=(1,)) == [100, 200, 200]


def test_an_elementwise_result_is_computed_again_from_its_source():
    # The source of `add` is read at the end, so it lives that long and the sum takes nothing.
    program = [
        ("dot_general", (0,), (1,)),
        ("add", (1, 2), (3,)),
        ("reduce_sum", (3,), (4,)),
        ("reduce_sum", (3,), (5,)),
    ]
    sizes = [ARRAY, ARRAY, BIAS, ARRAY, Size(), Size()]
    assert live(*program, sizes=sizes, arguments=(0, 2)) == [100, 100, 100, 100]


def test_a_product_reads_a_buffer():
    program = [("dot_general", (0,), (1,)), ("add", (1, 2), (3,)), ("dot_general", (3,), (4,))]
    sizes = [ARRAY, ARRAY, BIAS, ARRAY, Size()]
    assert live(*program, sizes=sizes, arguments=(0, 2)) == [100, 200, 100]


def test_a_sum_of_two_arrays_that_end_is_a_buffer():
    program = [
        ("dot_general", (0,), (1,)),
        ("dot_general", (0,), (2,)),
        ("add", (1, 2), (3,)),
        ("reduce_sum", (3,), (4,)),
        ("reduce_sum", (3,), (5,)),
    ]
    sizes = [ARRAY, ARRAY, ARRAY, ARRAY, Size(), Size()]
    assert live(*program, sizes=sizes) == [100, 200, 300, 100, 100]


def test_a_sum_of_two_arrays_that_live_on_is_computed_again():
    program = [
        ("dot_general", (0,), (1,)),
        ("dot_general", (0,), (2,)),
        ("add", (1, 2), (3,)),
        ("reduce_sum", (3,), (4,)),
        ("reduce_sum", (3,), (5,)),
        ("dot_general", (1, 2), (6,)),
    ]
    sizes = [ARRAY, ARRAY, ARRAY, ARRAY, Size(), Size(), Size()]
    assert live(*program, sizes=sizes) == [100, 200, 200, 200, 200, 200]


def test_an_exponential_with_two_readers_is_computed_once():
    def program(name):
        return [
            ("dot_general", (0,), (1,)),
            (name, (1,), (2,)),
            ("reduce_sum", (2,), (3,)),
            ("reduce_sum", (2,), (4,)),
        ]

    sizes = [ARRAY, ARRAY, ARRAY, Size(), Size()]
    assert live(*program("exp"), sizes=sizes) == [100, 200, 100, 100]
    assert live(*program("neg"), sizes=sizes) == [100, 100, 100, 100]


def test_nothing_is_computed_again_across_a_barrier():
    def program(*between):
        return [
            ("dot_general", (0,), (1,)),
            ("dot_general", (0,), (2,)),
            ("add", (1, 2), (3,)),
            *between,
            ("dot_general", (0,), (5,)),
            ("add", (4 if between else 3, 5), (6,)),
            ("reduce_sum", (6,), (7,)),
        ]

    sizes = [ARRAY] * 7 + [Size()]
    fused = live(*program(), sizes=sizes)
    apart = live(*program(("optimization_barrier", (3,), (4,))), sizes=sizes)
    assert fused[-1] == 300
    assert apart[-1] == 200


def test_a_reshaped_array_is_the_same_bytes():
    program = [("dot_general", (0,), (1,)), ("reshape", (1,), (2,)), ("dot_general", (2,), (3,))]
    assert live(*program, sizes=[ARRAY, ARRAY, ARRAY, Size()]) == [100, 100, 100]


def test_a_processor_keeps_what_a_small_result_is_computed_from():
    # A mask of a byte an element, of bits of eight: a GPU keeps the mask, a processor the bits.
    program = [
        ("while", (0,), (1,)),
        ("lt", (1,), (2,)),
        ("dot_general", (0,), (3,)),
        ("reduce_sum", (2,), (4,)),
        ("reduce_sum", (2,), (5,)),
    ]
    sizes = [ARRAY, Size(0.0, 80.0), Size(0.0, 10.0), Size(), Size(), Size()]
    assert live(*program, sizes=sizes) == [80, 90, 10, 10, 10]
    assert live(*program, sizes=sizes, processor=True) == [80, 80, 80, 80, 80]


def test_a_processor_too_keeps_a_sum_of_two_arrays():
    program = [
        ("dot_general", (0,), (1,)),
        ("dot_general", (0,), (2,)),
        ("add", (1, 2), (3,)),
        ("reduce_sum", (3,), (4,)),
        ("reduce_sum", (3,), (5,)),
    ]
    sizes = [ARRAY, ARRAY, ARRAY, ARRAY, Size(), Size()]
    assert live(*program, sizes=sizes, processor=True) == [100, 200, 300, 100, 100]
