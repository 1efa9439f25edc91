"""Claims of the optimizer's docstrings, by file, and the tests that show them.

A test is `file::name`, without `test_`, or a name in test_claims.py.
"""

CLAIMS = {
    "lion.py": {
        "the one buffer Lion keeps": "lion::the_state_is_one_momentum_and_a_count",
        "All is computed in float32 or wider, whatever the dtypes": (
            "gradients_of_few_bits_are_computed_with_in_float32",
            "edges::bfloat16_is_computed_in_float32",
            "edges::float64_stays_float64",
            "dropin::float32_weights_with_bfloat16_gradients_step_in_float32",
        ),
        "Where gradient and momentum are zero, the step is zero": (
            "edges::zero_momentum_and_gradient_are_a_zero_step"
        ),
        "a NaN stays a NaN": "lion::zero_gradient_is_a_fixed_point_and_nan_is_visible",
        "Directions equal those of `optax.scale_by_lion` except where |c| is below": (
            "directions_differ_from_optaxs_only_within_rounding",
            "lion::directions_are_the_float64_oracles",
            "lion::follows_the_float64_oracle",
        ),
        "b2 must be at least b1 / 16: below, directions are NaN": (
            "traced_betas_lose_bits_and_are_nan_below_a_sixteenth"
        ),
        "arrays of fewer than 4,096 values then have float32 or wider": (
            "bytes_of_a_momentum_and_of_small_ones",
            "int8::small_arrays_stay_float32_and_every_leaf_lies_as_its_parameter",
        ),
        "Complex momenta keep their dtype": (
            "edges::complex_parameters_have_a_sign_for_each_part"
        ),
        '`"refined"` c clipped to [-1, 1]': "variants::modes_are_their_formulas",
        "the other modes ignore it": (
            "dropin::a_slope_without_the_smooth_mode_is_taken_as_optax_takes_it"
        ),
        "step only where the direction has the gradient's sign": (
            "variants::cautious_is_the_papers_formula"
        ),
        "The updates have the gradients' shapes and dtypes": (
            "edges::dtypes_shapes_and_weak_types_are_those_of_the_start"
        ),
        "Integers and booleans have no momentum and zero updates": (
            "integers_have_zero_updates",
            "edges::integers_and_booleans_are_left_alone",
        ),
        "an unknown mode is refused by `update`": (
            "scale_by_lion_refuses_an_unknown_mode_in_update"
        ),
        "a drop-in for `optax.lion`": (
            "arguments_are_those_of_optax",
            "matrix::trains_as_optax_lion_does",
            "optax_own::optaxs_own_test_passes",
        ),
        "Every weight moves by the learning rate": (
            "properties::every_step_has_the_length_of_the_learning_rate"
        ),
        "momenta are bitwise those of `optax.lion`, updates too, except": (
            "directions_differ_from_optaxs_only_within_rounding",
            "lion::equals_optax_to_the_bit",
        ),
        "continues a run begun with `optax.lion`": (
            "dropin::a_run_of_optax_lion_continues_and_returns",
            "dropin::a_checkpoint_of_optax_lion_continues_to_the_bit",
        ),
        "Complex values have a sign each for their real and imaginary part": (
            "edges::complex_parameters_have_a_sign_for_each_part"
        ),
        "traced values are taken as they are": (
            "dropin::numbers_of_jax_are_checked_where_they_have_a_value"
        ),
        "a variant of weight decay without any": (
            "variants::wrong_combinations_are_refused_at_construction"
        ),
        "theta <- theta - eta u - lambda theta": (
            "variants::weight_decay_is_its_formula"
        ),
        "the wider of the gradient's and the parameter's dtype": (
            "edges::dtypes_shapes_and_weak_types_are_those_of_the_start"
        ),
        "where the gradient is None there is no update": (
            "dropin::no_gradient_for_a_frozen_part_gives_no_update"
        ),
    },
    "in_place.py": {
        "XLA:CPU then copies every momentum first": (
            "in_place::the_yardstick_sees_optaxs_copies"
        ),
        "Nothing in it reads the old momentum": (
            "in_place::no_copy_of_a_momentum_and_no_temporary"
        ),
        "is left out where only the sign is used": "which_momentum_is_read",
        "so that rounding does not change the sign either": (
            "a_bfloat16_momentum_is_rounded_to_its_side",
            "lion::directions_are_the_float64_oracles",
        ),
        "either sign is taken, unless m' needs no rounding": (
            "a_zero_interpolation_with_a_bfloat16_momentum"
        ),
        "b1 = 0, b1 > b2, a momentum in float16, float8 or int8": (
            "which_momentum_is_read",
            "in_place::the_old_momentum_is_copied_where_it_is_read",
            "int8::the_direction_is_the_exact_one_of_the_stored_momentum",
        ),
        "where XLA:CPU writes a float32 momentum and weights in one loop": (
            "the_flag_is_for_float32_momenta",
            "in_place::with_the_commands_flags_no_momentum_is_copied_or_widened",
        ),
        "then writes float32 values for both": (
            "in_place::with_the_commands_flags_no_momentum_is_copied_or_widened"
        ),
        "the sign of c is read from the new momentum; it is g's where b1 = 0": (
            "which_momentum_is_read",
            "dropin::traced_betas_are_those_of_optax",
        ),
        "c's rounding error is up to 16 / (1 - b1) times as large": (
            "traced_betas_lose_bits_and_are_nan_below_a_sixteenth"
        ),
        'static_args=("b1", "b2")': (
            "dropin::traced_betas_that_forget_the_momentum_are_visible"
        ),
        "unless it is to be exact, up to a positive factor": (
            "which_momentum_is_read",
            "lion::modes_equal_optax",
        ),
        "the flags of XLA in force now": (
            "the_flag_at_construction_decides_for_all_later_steps",
            "edges::xlas_flags_are_read_at_construction",
        ),
        "With b1 = b2 it is 0, also where the gradient is infinite": (
            "edges::equal_betas_take_an_infinite_gradient_as_a_sign",
            "traced_equal_betas_take_an_infinite_gradient_as_a_sign",
        ),
    },
    "momentum.py": {
        "of the parameter's shape and sharding": (
            "momenta_begin_where_their_parameters_lie"
        ),
        "unless it is on the wrong side": "a_bfloat16_momentum_is_rounded_to_its_side",
    },
    "int8.py": {
        "The codes have the parameter's shape and sharding": (
            "momenta_begin_where_their_parameters_lie",
            "int8::sharded_equals_unsharded_to_the_bit",
        ),
        "All that an array's values share is one integer": (
            "int8::small_arrays_stay_float32_and_every_leaf_lies_as_its_parameter"
        ),
        "evenly spread over steps": (
            "int8::rounding_is_right_on_average_at_every_spacing"
        ),
        "A float64 gradient meets the float32 momentum in float64": (
            "edges::float64_stays_float64"
        ),
        "out of reach of what places, masks or wraps a state": (
            "matrix::trains_as_optax_lion_does"
        ),
        "there are 8 levels per octave, 1/16 to 1/8 of a value apart": (
            "levels_are_eight_to_an_octave_and_beyond_them_one"
        ),
        "a value far smaller or larger than its neighbours moves too": (
            "int8::small_values_turn_round_whatever_their_neighbours"
        ),
        "Only a zero is stored as zero": (
            "a_subnormal_keeps_its_sign",
            "int8::every_sign_survives_and_only_zero_is_zero",
        ),
        "-128 a NaN: each costs one value": (
            "int8::nan_and_infinity_are_visible",
            "int8::one_outlier_costs_one_value",
        ),
        "the median of the rows' largest values": (
            "int8::the_exponent_is_the_rows_median_and_no_outlier_moves_it"
        ),
        "changes the exponent by k and no code": (
            "int8::scaling_every_gradient_changes_nothing",
            "edges::updates_do_not_depend_on_the_gradients_scale",
        ),
        "In all other steps everything is elementwise": (
            "between_measurements_every_value_is_alone"
        ),
        "rounded to the nearest it would freeze": (
            "rounded_to_the_nearest_level_a_momentum_would_freeze",
            "int8::the_momentum_does_not_freeze",
        ),
        "the errors of successive steps cancel, and so do those of neighbours": (
            "int8::rounding_is_right_on_average_at_every_spacing",
            "errors_of_neighbours_cancel",
        ),
    },
    "calibration.py": {
        "one outlier costs its row's vote and nothing else": (
            "int8::the_exponent_is_the_rows_median_and_no_outlier_moves_it"
        ),
        "on any number of devices": (
            "int8::sharded_equals_unsharded_to_the_bit",
            "exponents_of_cut_weights_are_counted_over_devices",
        ),
        "leaves arrays of one shape with equal kernels, compiled once": (
            "in_place::byte_momenta_of_one_shape_share_their_kernels"
        ),
        "it is measured as soon as it has one": (
            "int8::the_exponent_follows_and_waits_for_a_first_gradient"
        ),
        "those at 0, 1, 2, 4, 8, ... 128": "exponents_are_measured_at_these_steps",
    },
    "float_bits.py": {
        "the nearest, ties to even": (
            "sixteen_bits_hold_all_but_a_tie_that_is_rounded_down"
        ),
    },
    "averaging.py": {
        "the weights themselves, of which it changes none": (
            "averaging::the_average_is_that_of_numpy_and_the_weights_are_the_same",
            "averaging::a_run_trains_as_without_and_evaluates_the_average",
        ),
        "which is the mean of theta_i with weights d^(t-i)": (
            "averaging::the_average_is_that_of_numpy_and_the_weights_are_the_same"
        ),
        "the average is that of the float32 weights": (
            "averaging::inside_of_error_bits_the_average_is_that_of_the_float32_weights"
        ),
        "it advances only when the weights do": (
            "averaging::it_advances_with_the_weights_in_multi_steps"
        ),
        "The average is float32 where weights have fewer bits": (
            "averaging::bfloat16_weights_have_a_float32_average"
        ),
        "leaves that are not floating have none": (
            "averaging::what_is_frozen_or_an_integer_has_no_average"
        ),
        "also exact for d close to 1": "averaging::a_decay_close_to_one_is_as_exact",
        "a caller may donate weights and state to the same step": (
            "averaging::before_a_step_the_average_is_the_weights"
        ),
    },
    "bf16.py": {
        "updates below 1/512 of a weight are rounded away": (
            "updates_below_a_512th_of_a_weight_are_rounded_away"
        ),
        "with learning rate 1e-4 all weights above 1/32 stand still": (
            "with_rate_1e_4_weights_above_a_32nd_stand_still"
        ),
        "Both hand float32 to the inner optimizer": (
            "the_inner_optimizer_sees_float32_and_updates_are_float32"
        ),
        "The updates are float32; bfloat16 where dtypes are promoted strictly": (
            "the_inner_optimizer_sees_float32_and_updates_are_float32"
        ),
        "only a tie that is rounded down loses its last place": (
            "sixteen_bits_hold_all_but_a_tie_that_is_rounded_down"
        ),
        "to the bit if XLA fuses both alike": (
            "bf16::sixteen_error_bits_are_float32_weights"
        ),
        "With 8 they have 16 significant bits": (
            "bf16::error_bits_over_all_magnitudes_and_signs"
        ),
        "at random, so that the mean is exact": (
            "the_mean_of_all_random_roundings_is_exact",
            "bf16::stochastic_rounding_is_unbiased_and_seeded",
        ),
        "do not depend on the number of devices": (
            "bf16::sharded_equals_unsharded_to_the_bit"
        ),
        "where a weight changes by less than its half": (
            "a_weight_that_changes_by_less_than_its_half_is_moved_exactly_if_strict"
        ),
    },
    "variants.py": {
        "all of them off by default": "variants::all_variants_are_off_by_default",
        "Complex leaves are pairs of real ones": (
            "edges::complex_parameters_have_a_sign_for_each_part"
        ),
        "both as in `optax.scale_by_lion`": "lion::modes_equal_optax",
        "and is at least 0.001. That is timm's form": (
            "cautious_is_timms_form_and_not_the_authors"
        ),
        "a scalar then moves by half a step": "a_scalar_takes_a_whole_cautious_step",
        "counted over the whole array, wherever its parts lie": (
            "variants::cautious_takes_the_mean_over_the_whole_tensor_on_any_mesh"
        ),
        "where it does not work against the direction": (
            "variants::weight_decay_is_its_formula"
        ),
    },
    "distributed.py": {
        "all take the step that most voted for, or the mean of the votes": (
            "distributed::all_devices_take_the_step_most_vote_for",
            "distributed::votes_are_those_that_numpy_counts",
        ),
        "otherwise JAX sums the gradients of replicated parameters": (
            "distributed::jax_sums_gradients_of_replicated_parameters_unless_told"
        ),
        "The updates are the same on all devices": (
            "distributed::replicated_parameters_stay_so_and_take_the_voted_step"
        ),
        "an odd number goes back and forth, by one step": (
            "distributed::zero_gradients_go_nowhere"
        ),
        "whole array's update NaN": (
            "distributed::nan_is_visible_everywhere_and_leaves_others_alone"
        ),
        "On a single device it is `scale_by_lion`": (
            "distributed::all_devices_take_the_step_most_vote_for"
        ),
        "Gives all devices the mean of their momenta": (
            "distributed::synchronised_momenta_are_their_mean"
        ),
        "Gives other devices the mean of the momenta of those that had them": (
            "voting::other_devices_begin_with_the_mean_of_the_momenta"
        ),
    },
    "votes.py": {
        "one all-to-all and one all-gather in a step": (
            "distributed::a_step_has_one_vote_and_one_outcome_for_all_arrays",
            "voting::a_step_has_one_vote_one_outcome_and_the_mean_of_the_statistics",
        ),
        "Votes are counted in their bytes": (
            "distributed::votes_are_counted_in_their_bytes"
        ),
        "sends and receives 1 bit per value in the votes": (
            "distributed::a_vote_takes_one_bit_and_an_outcome_two"
        ),
        "the digits of a count for a mean": (
            "distributed::other_outcomes_take_what_is_said"
        ),
        "in its reduce-scatter and 32 in its all-gather": (
            "distributed::a_mean_of_float32_takes_64_bits"
        ),
    },
    "signs.py": {
        "a sixteenth of its float32 bytes, and exactly": (
            "mesh::signs_arrive_as_they_were"
        ),
    },
    "adopt.py": {
        "are found wherever they are": (
            "dropin::a_run_of_optax_lion_continues_and_returns",
            "dropin::a_run_with_injected_hyperparameters_continues",
        ),
        "Counts of schedules are those of the momentum, as in Optax": (
            "dropin::a_run_of_optax_lion_continues_and_returns"
        ),
        "int8 momenta are decoded": "dropin::a_momentum_may_become_int8_and_return",
    },
    "leaves.py": {
        "the wider of two dtypes, even where dtypes are promoted strictly": (
            "dropin::strict_dtype_promotion"
        ),
        "a mask is a function of the parameters if all its leaves are": (
            "dropin::a_mask_that_is_a_callable_pytree_is_a_mask"
        ),
    },
    "checks.py": {
        "all but those that JAX traces": "dropin::betas_that_are_arrays_write_in_place",
    },
    "state.py": {
        "all leaves of `mu` lie as the parameters do": (
            "int8::small_arrays_stay_float32_and_every_leaf_lies_as_its_parameter"
        ),
    },
    "__init__.py": {
        "Imports nothing else of lion_jax": (
            "structure::rooms_import_only_the_rooms_that_they_may"
        ),
    },
    "../__init__.py": {
        "composes into chains of Optax": "matrix::trains_as_optax_lion_does",
    },
    "../../docs/optimizer.md": {
        "It imports jax, numpy, optax and jaxtyping only": (
            "structure::the_optimizer_needs_four_libraries"
        ),
        "the arguments are the same": "arguments_are_those_of_optax",
        "bit for bit in float32": (
            "dropin::a_run_of_optax_lion_continues_and_returns",
            "dropin::a_checkpoint_of_optax_lion_continues_to_the_bit",
        ),
        "after three steps the weights are those of `optax.lion`, within 1e-6": (
            "matrix::trains_as_optax_lion_does"
        ),
        "Optax's own tests of Lion pass": "optax_own::optaxs_own_test_passes",
        "find the momentum and the count": (
            "dropin::parts_of_a_state_are_found_by_their_names"
        ),
        "int8 takes at most 1.01 bytes in ResNet-50 and ViT-B/16": (
            "models::an_int8_momentum_takes_a_byte_per_parameter"
        ),
        "8 levels per octave over 12 octaves, one level per octave beyond them": (
            "levels_are_eight_to_an_octave_and_beyond_them_one"
        ),
        "from 2^-100 to 2^100": "edges::updates_do_not_depend_on_the_gradients_scale",
        "at steps 0, 1, 2, 4, ..., 128 and every 256 after that": (
            "exponents_are_measured_at_these_steps"
        ),
        "momenta above 1,024 times 2^exponent are cut off there": (
            "a_momentum_1024_times_its_scale_is_cut_off_until_the_next_measurement"
        ),
        "this needs `check_vma=True`, which is the default": (
            "exponents_of_cut_weights_are_counted_over_devices"
        ),
        "stores a count alone": "stochastic_rounding_stores_a_count_alone",
    },
}
