//! What a call means, sentence by sentence: one suite, in every mode.
//!
//! A case plays on a [`Stage`](stage::Stage): an App and a view of what ran on the callees' side. It knows the
//! callees only through the App, so the same case runs in one process (`inline`), in one process with everything
//! that a network does (`strict`), to two further processes, over Unix sockets (`split`) and over TCP with TLS
//! (`tls`), and to cells of those (`cells`). Cases assert counts and outcomes, never times. They are listed once, below; each mode makes a test of each.
//!
//! Two sentences need more than an App to be seen, and have their cases beside the command, in
//! `crates/skybox-cli/tests/programs`: health traffic passes payload (`frames.rs`), and `skybox ps` shows the chains
//! that wait for each other (`waits.rs`).

#![expect(unreachable_pub, reason = "`pub` is what makes a method part of a module's interface")]

mod alone;
mod cases;
mod ledger;
mod modules;
mod stage;

/// Makes tests of cases: `area: case case …;` in each of the named modes.
macro_rules! tests {
    ($mode:ident by $run:ident: $($area:ident: $($(#[$attribute:meta])* $case:ident)*;)*) => {
        $($(
            $(#[$attribute])*
            #[test]
            fn $case() {
                crate::stage::$run(crate::stage::Mode::$mode, |stage| Box::pin(crate::cases::$area::$case(stage)));
            }
        )*)*
    };
}

/// The cases of every mode.
macro_rules! in_every_mode {
    ($mode:ident) => {
        tests! { $mode by run:
            values:
                owned_and_borrowed_arguments_arrive
                skipped_fields_arrive_unchanged
                untagged_enums_arrive_unchanged
                internally_tagged_enums_arrive_unchanged
                adjacently_tagged_enums_arrive_unchanged
                flattened_fields_arrive_unchanged
                json_values_arrive_unchanged
                options_of_options_arrive_unchanged
                types_of_other_crates_arrive_unchanged
                an_argument_that_would_change_is_refused_by_type_and_field
                a_result_that_would_change_is_refused_by_type_and_field
                what_a_type_never_writes_arrives_as_it_fills_it
                a_result_that_is_skipped_only_later_arrives
                a_panic_in_the_code_of_a_value_does_not_pass_the_call
                a_panic_in_the_text_of_an_error_is_a_bad_reply
                large_payloads_go_both_ways;
            errors:
                an_error_that_is_data_arrives_as_itself
                a_variant_that_is_data_arrives_as_itself
                a_variant_that_is_no_data_arrives_as_text_in_rest
                any_error_arrives_as_its_text_alone
                #[cfg(feature = "anyhow")] an_anyhow_error_arrives_as_its_text_alone
                a_call_error_names_the_call
                an_inner_call_error_becomes_text
                #[cfg(feature = "anyhow")] an_inner_call_error_becomes_text_in_anyhow;
            failures:
                a_module_that_does_not_start_says_why
                a_module_that_was_given_up_is_not_started_again
                a_panic_in_start_is_the_reason_that_callers_get
                a_start_that_fails_is_tried_again_while_calls_wait
                calls_wait_while_nothing_is_live
                waiting_for_a_start_is_bounded
                waiting_for_a_turn_is_bounded
                waiting_for_a_thread_is_bounded
                a_call_is_refused_whose_turn_would_come_too_late
                a_call_is_refused_whose_thread_would_be_free_too_late
                concurrency_is_exact
                a_panic_is_crashed_with_its_message_and_place;
            deadlines:
                a_call_has_no_deadline_by_default
                a_handles_deadline_bounds_its_calls
                a_modules_deadline_bounds_its_calls
                a_deadline_shrinks_through_nested_calls
                a_nested_call_cannot_extend_a_deadline
                time_is_up_before_a_call_is_sent
                time_is_up_while_a_call_waits_for_its_turn
                calls_behind_a_long_one_are_known_not_to_have_run
                time_is_up_while_a_call_waits_for_a_thread
                time_is_up_while_a_call_runs
                the_callee_keeps_the_deadline_too;
            cancellation:
                dropping_a_call_stops_a_shared_method_at_its_next_await
                dropping_a_call_stops_the_calls_below_it
                a_queued_exclusive_call_that_is_dropped_does_not_run
                a_started_exclusive_call_that_is_dropped_runs_to_its_end
                a_started_exclusive_call_outlives_its_deadline
                an_exclusive_call_that_overruns_crashes_its_instance
                calls_that_wait_behind_an_overrun_find_the_new_instance
                cancel_on_drop_stops_an_exclusive_call
                to_completion_lets_a_shared_call_run_to_its_end
                a_started_sync_method_ends
                a_queued_sync_method_that_is_dropped_does_not_run
                sync_methods_run_on_the_modules_own_threads;
            order:
                calls_of_one_handle_come_in_the_order_of_their_first_poll
                sync_and_async_calls_share_one_order
                a_reader_behind_a_writer_sees_what_it_wrote
                calls_that_wake_an_instance_keep_their_order
                calls_that_wait_for_a_start_keep_their_order
                a_small_call_does_not_pass_a_large_one_of_its_handle;
            reentrancy:
                an_exclusive_call_under_an_exclusive_one_is_refused
                a_shared_call_under_an_exclusive_one_is_refused
                an_exclusive_call_under_a_shared_one_is_refused
                a_shared_call_under_a_shared_one_runs
                the_way_back_through_another_module_is_seen
                a_nested_shared_call_passes_waiting_writers
                a_chain_has_64_calls_at_most
                skybox_spawn_keeps_the_chain
                a_spawned_task_call_keeps_the_chain
                a_detached_task_starts_a_new_chain
                two_chains_that_wait_for_each_other_end_by_deadline
                the_chain_of_a_call_that_ended_counts_no_more;
            context:
                a_callee_sees_the_trace_of_its_caller
                context_is_right_over_join
                context_is_right_over_join_inside_a_callee
                context_is_right_over_select
                a_task_call_keeps_its_context_when_it_is_spawned
                skybox_spawn_keeps_context_and_tokio_spawn_starts_anew;
            crashes:
                a_panic_is_crashed_and_the_instance_is_replaced
                a_panic_in_an_exclusive_call_leaves_nothing_half_changed
                calls_that_wait_for_a_crashed_instance_get_the_new_one
                other_shared_calls_finish_on_the_old_instance
                a_keyed_replacement_waits_for_the_last_call_of_the_old_one
                panics_of_sync_methods_and_own_threads_do_not_pass_either
                a_task_is_not_given_up_for_bad_work
                a_key_is_not_given_up_for_bad_calls
                a_key_that_was_given_up_is_not_started_again
                a_key_that_is_not_to_be_started_again_is_not;
            stops:
                an_instance_that_falls_asleep_stops_once
                a_key_starts_again_only_when_its_stop_has_ended
                a_crashed_instance_does_not_stop
                a_stop_that_takes_too_long_is_cut_off
                a_panic_in_stop_takes_nothing_down
                an_error_of_stop_is_kept
                an_implementation_of_an_interface_stops_as_well;
            awake:
                the_key_that_was_not_called_for_longest_falls_asleep
                never_are_more_keys_awake_than_may_be
                a_busy_key_is_not_put_to_sleep
                a_place_is_given_back_however_an_instance_ends;
            delivery:
                a_call_runs_once
                an_idempotent_call_may_run_again
                a_call_to_the_same_node_sends_no_frame
                an_instance_knows_its_epoch;
            handles:
                a_handle_is_an_argument_and_a_result
                a_keyed_handle_travels_with_its_key
                a_handle_outlives_the_instances_it_reaches;
            streams:
                items_arrive_in_order_and_end
                items_go_up_in_order
                items_go_both_ways_at_once
                items_of_any_size_arrive_whole
                an_error_is_an_item_and_more_follow
                errors_of_items_cross_as_those_of_methods
                a_call_error_among_the_items_becomes_text
                nothing_is_made_before_it_is_asked_for
                a_reader_that_stops_stops_the_writer
                a_callee_that_stops_reading_stops_its_caller
                dropping_the_reader_drops_the_source
                a_callee_that_drops_its_argument_drops_the_source
                a_call_that_fails_drops_the_sources_of_its_arguments
                a_call_that_is_dropped_drops_the_sources_of_its_arguments
                a_sender_hears_that_nobody_reads
                a_panic_in_a_result_is_crashed_and_the_instance_is_replaced
                a_panic_in_an_argument_reaches_the_reader_alone
                a_panic_of_who_pushes_breaks_the_stream_off
                an_item_that_would_change_breaks_the_stream_off
                a_method_gives_its_turn_back_before_its_stream_ends
                an_instance_stays_while_its_stream_goes_on
                a_deadline_does_not_cover_the_items
                a_deadline_covers_an_upload_until_it_is_read
                an_upload_that_has_begun_has_no_deadline
                a_call_that_is_taken_back_drops_the_sources_of_its_arguments
                the_bytes_of_streams_are_counted
                a_reader_waits_no_longer_than_its_idle_timeout
                a_callees_idle_timeout_ends_its_callers_source
                streams_go_through_tasks_and_sync_methods
                a_stream_goes_on_through_a_second_call
                streams_belong_to_the_context_of_their_maker;
            spawned:
                a_spawned_instance_is_called_by_its_owner
                dropping_its_owner_stops_a_spawned_instance
                calls_in_progress_end_before_their_instance_does
                a_spawned_instance_that_is_kept_lives_on
                a_handle_of_a_spawned_instance_travels
                a_handle_that_travels_owns_nothing
                a_spawned_instance_that_crashes_is_over
                calls_that_wait_for_one_that_crashes_are_gone
                a_start_that_fails_is_told_to_who_spawns
                what_cannot_cross_spawns_nothing
                a_spawn_that_is_dropped_leaves_nothing_behind
                stopping_an_instance_waits_for_its_calls
                stopping_an_instance_kills_what_goes_on_too_long
                killing_an_instance_ends_its_calls
                a_monitor_tells_why_an_instance_crashed
                a_monitor_tells_that_an_instance_was_stopped
                a_monitor_waits_for_the_last_call
                every_monitor_of_an_instance_tells_once
                a_monitor_of_an_instance_that_has_ended_tells_at_once
                a_monitor_of_an_instance_that_has_stopped_tells_so
                a_monitor_of_an_instance_that_is_forgotten_tells_so
                monitors_of_a_crowd_that_has_crashed_tell_of_each
                a_monitor_that_comes_while_an_instance_stops_tells_its_end
                killing_an_instance_that_is_ending_ends_its_calls
                killing_an_instance_that_has_crashed_ends_what_goes_on;
            links:
                the_crash_of_one_ends_the_other
                an_end_in_order_ends_no_other
                a_last_word_that_fails_is_no_end_in_order
                a_kill_ends_the_other_and_its_calls
                the_end_of_one_goes_through_a_chain
                in_a_circle_each_ends_once
                a_ring_of_a_thousand_ends_once
                who_traps_a_link_hears_of_it_and_lives_on
                the_last_word_of_a_link_counts
                a_link_to_one_that_has_ended_tells_at_once
                a_link_to_one_that_nobody_remembers_ends_the_other
                instances_link_themselves
                a_start_that_fails_ends_those_it_has_linked_itself_to
                one_that_starts_is_killed_when_it_has_started;
            itself:
                an_instance_that_ends_itself_answers_first
                calls_in_progress_end_before_an_instance_that_ends_itself
                calls_that_wait_for_one_that_ends_itself_are_gone
                a_crash_after_an_instance_has_ended_itself_is_a_crash
                an_instance_knows_its_own_handle
                code_that_is_none_of_an_instance_is_told_so;
            names:
                an_instance_is_found_by_its_name_from_everywhere
                a_name_that_is_taken_is_refused_and_says_who_has_it
                a_name_is_free_when_the_end_of_its_instance_is_told
                a_name_is_not_free_while_its_instance_starts
                a_name_is_not_free_while_its_instance_stops
                a_name_of_another_module_is_told_apart
                an_unregistered_name_is_free_and_its_instance_lives
                of_a_hundred_who_want_a_name_one_has_it
                an_instance_that_names_itself_is_called_once_it_has_started
                a_start_that_fails_leaves_no_name_behind
                a_spawn_that_is_dropped_leaves_no_name_behind
                an_instance_names_itself_in_a_method
                an_instance_that_has_ended_is_given_no_name
                an_end_in_the_middle_of_a_registration_leaves_no_name
                what_is_no_name_is_refused
                a_child_that_is_started_again_has_its_name_again;
            supervisors:
                a_child_that_crashes_is_started_again_alone
                children_that_need_one_another_are_started_again_together
                children_that_rest_on_another_are_started_again_after_it
                dropping_a_supervisor_stops_its_children
                children_are_stopped_from_last_to_first
                a_supervisor_gives_up_in_the_end
                children_before_one_that_does_not_start_are_stopped
                a_child_that_ends_in_order_may_stay_away
                a_child_whose_last_word_fails_is_started_again
                a_supervisor_that_gives_up_crashes_its_instance
                a_supervisor_goes_with_its_instance
                a_panic_of_what_makes_a_child_is_a_start_that_failed
                a_supervisor_that_is_stopped_while_it_stops_one_waits_for_that
                a_supervisor_that_is_stopped_while_it_starts_one_waits_for_that
                a_child_that_waits_for_its_restart_holds_up_no_other;
            interfaces:
                an_interface_is_called_as_a_module_is
                a_body_in_the_trait_runs_where_the_implementation_is
                a_keyed_interface_has_an_instance_for_each_key
                a_handle_of_an_interface_travels_with_its_key
                streams_go_through_an_interface
                a_failed_call_names_the_interface
                a_crashed_implementation_is_replaced
                methods_of_an_interface_wait_for_their_turn;
        }
    };
}

/// Cases for which all of a call happens in this process: its clock can be stopped, its App dropped.
macro_rules! in_one_process {
    ($mode:ident) => {
        tests! { $mode by run:
            failures: an_instance_of_an_app_that_ended_is_gone;
            kills:
                a_killed_instance_is_replaced_and_its_calls_are_cancelled
                a_call_that_nothing_else_wakes_is_cancelled
                a_kill_ends_a_call_that_nobody_waits_for
                those_that_wait_for_their_turn_go_to_the_successor
                a_killed_key_starts_again_with_its_next_call
                a_killed_spawned_instance_is_over
                kills_never_give_a_module_up
                streams_of_a_killed_instance_break_off
                what_holds_its_thread_runs_to_its_end;
            stops: an_app_that_shuts_down_waits_for_each_stop;
            // Elsewhere a held worker may keep all input of its process waiting, and with it whoever asks.
            holds: a_method_that_holds_its_thread_is_named_and_no_other;
        }
        tests! { $mode by run_paused:
            failures: a_call_that_waited_long_enough_is_unreachable;
            awake: where_all_keys_are_busy_a_call_is_refused_in_the_end;
        }
    };
}

/// Cases for which the callees are in other processes, which can be killed and stopped.
macro_rules! in_several_processes {
    ($mode:ident) => {
        tests! { $mode by run:
            crashes: a_key_that_was_given_up_is_tried_again_where_it_moves;
            delivery:
                a_lost_idempotent_call_is_sent_again
                a_node_that_leaves_fails_no_call
                calls_wait_while_a_node_is_replaced
                calls_follow_a_module_that_moves
                each_owner_has_a_higher_epoch
                keyed_calls_follow_their_shard
                a_key_that_moves_while_it_starts_is_not_left_behind;
            order:
                a_small_call_passes_a_large_one_of_another_module
                a_small_reply_passes_a_large_one
                a_large_call_that_is_dropped_lets_the_others_on;
            streams:
                a_killed_node_breaks_its_streams_off
                a_call_is_not_sent_again_once_its_stream_has_given
                a_call_whose_stream_has_given_nothing_is_sent_again
                a_node_that_leaves_ends_its_streams_first
                small_calls_pass_between_the_items;
            failures:
                a_call_that_waited_long_enough_is_unreachable;
            awake:
                where_all_keys_are_busy_a_call_is_refused_in_the_end;
            stops:
                a_module_that_moves_stops_where_it_was
                a_node_that_leaves_waits_for_each_stop;
            cancellation:
                the_death_of_its_caller_stops_a_shared_method
                the_death_of_its_caller_lets_a_started_exclusive_method_end;
            spawned:
                the_death_of_its_owner_stops_a_spawned_instance
                the_death_of_its_owner_leaves_what_was_kept
                the_death_of_its_node_ends_a_spawned_instance
                the_owner_of_a_lost_instance_ends_no_other
                a_killed_node_is_told_to_each_monitor_once
                a_node_that_leaves_tells_of_its_instances_first;
            names: the_names_of_a_lost_node_are_free;
            links:
                a_lost_node_ends_those_that_are_linked_to_its_instances
                the_lost_node_of_one_is_noticed_where_the_other_is;
            supervisors: children_of_a_lost_node_are_started_again;
            versions:
                a_module_with_other_methods_is_a_mismatch
                an_argument_that_the_callee_does_not_know_is_a_mismatch
                a_result_that_the_caller_does_not_know_is_a_bad_reply;
        }
    };
}

/// Cases that look at the callees' process as that of their node: they stop it, or know it by its number, or have it count
/// for itself. In cells all that is several processes.
macro_rules! in_the_process_of_a_node {
    ($mode:ident) => {
        tests! { $mode by run:
            delivery:
                a_lost_call_is_not_sent_again
                a_full_replica_is_passed_over;
            silence:
                a_silent_node_leaves_rotation_and_its_calls_wait
                a_call_that_arrives_too_late_does_not_run
                what_a_dead_node_had_not_taken_is_asked_of_its_successor
                bytes_that_wait_to_be_sent_are_bounded
                calls_in_progress_over_a_connection_are_bounded;
            stops:
                a_key_that_moves_starts_only_when_its_stop_has_ended;
            kills:
                a_killed_instance_is_replaced_and_its_calls_are_cancelled
                a_call_that_nothing_else_wakes_is_cancelled
                a_kill_ends_a_call_that_nobody_waits_for
                those_that_wait_for_their_turn_go_to_the_successor
                a_killed_key_starts_again_with_its_next_call
                a_killed_spawned_instance_is_over
                kills_never_give_a_module_up
                streams_of_a_killed_instance_break_off
                what_holds_its_thread_runs_to_its_end;
        }
    };
}

mod inline {
    in_every_mode! { Inline }
    in_one_process! { Inline }
}

mod strict {
    in_every_mode! { Strict }
    in_one_process! { Strict }
}

mod split {
    in_every_mode! { Split }
    in_several_processes! { Split }
    in_the_process_of_a_node! { Split }
    // What takes half a minute says nothing of the transport.
    tests! { Split by run_long:
        silence:
            a_node_that_stays_silent_is_given_up;
        cancellation:
            a_call_that_does_not_end_is_cancelled_when_its_node_leaves;
        spawned:
            a_killed_node_is_told_to_a_hundred_thousand_monitors
            an_app_that_shuts_down_tells_of_its_instances_first;
    }
}

mod cells {
    in_every_mode! { Cells }
    in_several_processes! { Cells }
}

mod tls {
    in_every_mode! { Tls }
    in_several_processes! { Tls }
    in_the_process_of_a_node! { Tls }
    tests! { Tls by run:
        failures:
            an_operator_with_too_little_right_is_denied;
    }
}
