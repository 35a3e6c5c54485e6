//! The Kafka source, the sink and the chat's reader against a real broker.

mod chat;
mod sink;
mod source;

use libtest_mimic::Trial;

use crate::Harness;

/// The tests of this module.
pub fn trials(harness: &'static Harness) -> Vec<Trial> {
    vec![
        harness.trial(
            "source_reads_everything_and_goes_on_at_the_commit",
            source::source_reads_everything_and_goes_on_at_the_commit,
        ),
        harness.trial(
            "two_members_share_partitions_and_no_record_is_lost_or_read_twice",
            source::two_members_share_partitions_and_no_record_is_lost_or_read_twice,
        ),
        harness.trial(
            "a_slow_pipeline_pauses_partitions_and_memory_stays_bounded",
            source::a_slow_pipeline_pauses_partitions_and_memory_stays_bounded,
        ),
        harness.trial(
            "watchdog_replaces_a_consumer_that_has_lag_and_delivers_nothing",
            source::watchdog_replaces_a_consumer_that_has_lag_and_delivers_nothing,
        ),
        harness.trial(
            "a_stop_waits_for_a_pipeline_only_so_long",
            source::a_stop_waits_for_a_pipeline_only_so_long,
        ),
        harness.trial(
            "timestamps_and_samples_are_read_without_a_group",
            source::timestamps_and_samples_are_read_without_a_group,
        ),
        harness.trial_alone(
            "source_and_sink_go_on_after_a_broker_restart",
            source::source_and_sink_go_on_after_a_broker_restart,
        ),
        harness.trial(
            "a_record_too_large_is_refused_for_good_and_the_others_pass",
            sink::a_record_too_large_is_refused_for_good_and_the_others_pass,
        ),
        harness.trial(
            "a_missing_topic_is_not_the_records_fault",
            sink::a_missing_topic_is_not_the_records_fault,
        ),
        harness.trial(
            "a_full_queue_is_said_and_empties",
            sink::a_full_queue_is_said_and_empties,
        ),
        harness.trial(
            "chat_goes_on_after_a_restart_and_forgets_no_message",
            chat::chat_goes_on_after_a_restart_and_forgets_no_message,
        ),
        harness.trial(
            "a_message_that_chat_refuses_becomes_a_dead_letter",
            chat::a_message_that_chat_refuses_becomes_a_dead_letter,
        ),
        harness.trial(
            "a_storm_becomes_one_message_and_is_committed_after_it",
            chat::a_storm_becomes_one_message_and_is_committed_after_it,
        ),
    ]
}
