//! What users of other engines were bitten by, case by case, and the trials that hold each here.
//!
//! A case names its trials, which are then called `conformance::GROUP::FILE::FUNCTION` after the first group that names them: `-- conformance::`
//! runs them all. One trial says how many cases each group has, and fails where a name is no trial's. Left out, as there is no such
//! thing here: a lock file that git keeps, `zip` (an axis of tables goes in step), pools of a depth, a scheduler's variants of a request,
//! memory of a GPU as a resource, a count of failures to stop after (`--fail-fast` stops at one), a remote cache (of a later issue).

use libtest_mimic::Trial;
use std::collections::BTreeSet;

/// What must hold, and the trials that show it.
type Case = (&'static str, &'static [&'static str]);

/// Group → case → the trials that hold it.
const CASES: &[(&str, &[Case])] = &[
    (
        "nothing to do",
        &[
            ("no pipeline in the file", &["pipelines::invalid::no-pipeline"]),
            ("a second run", &["rerun::a_second_run_does_nothing"]),
            ("touched, rewritten with equal bytes, comments and order", &["rerun::what_is_not_content_reruns_nothing"]),
            ("order of tables and keys", &["laws::the_order_of_the_text_is_in_no_key"]),
            ("a stage has another name", &["rerun::a_renamed_stage_runs_nothing"]),
            ("the project has moved", &["rerun::a_moved_project_reruns_nothing"]),
            ("the project was copied", &["rerun::a_copied_project_runs_nothing"]),
            ("started in another folder", &["rerun::another_working_folder_runs_nothing"]),
            ("started by another user", &["rerun::another_user_runs_nothing"]),
            ("the index is lost", &["rerun::a_lost_index_runs_nothing"]),
            ("files from the future", &["clocks::files_of_odd_times_fool_nobody"]),
            (
                "the clock is set back, or runs backwards",
                &[
                    "clocks::a_clock_set_back_runs_nothing_and_misses_nothing",
                    "clocks::a_clock_that_runs_backwards_meanwhile_harms_nothing",
                ],
            ),
            ("needs, policy and threads differ", &["commands::what_is_in_no_key_runs_nothing_again"]),
        ],
    ),
    (
        "must rerun",
        &[
            ("content of equal size and time", &["clocks::equal_size_and_time_are_not_equal_content"]),
            (
                "a param that is used, one that is taken out",
                &["rerun::a_param_counts_where_it_is_used", "rerun::a_changed_value_reruns_its_cell"],
            ),
            ("a file added, removed, changed", &["rerun::a_changed_file_reruns_what_depends_on_it", "items::an_added_file_costs_one_item"]),
            ("an input added, removed", &["rerun::an_input_more_or_less"]),
            ("a kind's revision", &["rerun::another_revision_of_a_kind"]),
            ("a file of the code", &["rerun::edited_code_reruns_its_stage", "rerun::a_file_of_the_code_more_or_less"]),
            ("an output port is added", &["rerun::another_output_is_another_result"]),
            ("a publication is deleted", &["rerun::a_deleted_publication_is_put_back"]),
            ("a result is lost", &["items::a_lost_file_is_made_again", "cache::a_flipped_bit_in_any_file_is_found_and_mended"]),
            ("the index is deleted", &["cache::an_index_is_made_anew"]),
            ("random edits", &["laws::edits_end_where_a_clean_run_ends"]),
        ],
    ),
    (
        "cutoff",
        &[
            ("an equal result in the middle", &["rerun::an_equal_result_stops_the_wave"]),
            ("one of two outputs changes", &["cutoff::of_two_outputs_only_the_one_that_changed_goes_on"]),
            (
                "a gather stays though an item ran again",
                &["cutoff::an_item_that_comes_out_equal_stops_there", "items::equal_files_are_treated_once_a_run_later"],
            ),
            ("what is made again comes out otherwise", &["cutoff::what_is_made_again_and_comes_out_otherwise_is_said"]),
            ("columns that nobody reads", &["items::other_columns_cost_none"]),
            ("a value put back", &["rerun::a_value_put_back_is_found_again"]),
            ("other bytes from equal inputs", &["seeing::other_bytes_of_a_program_are_a_variant"]),
            ("other masks, where nobody reads them", &["lungs::other_masks_touch_only_what_reads_them"]),
        ],
    ),
    (
        "input races",
        &[
            ("a source changes meanwhile", &["bad_input::a_source_that_changes_meanwhile"]),
            ("a file is added meanwhile", &["level::a_file_added_while_a_task_runs_is_named"]),
            ("code is edited meanwhile", &["races::code_that_is_edited_meanwhile"]),
            ("an item's file changes meanwhile", &["races::an_item_that_changes_meanwhile_is_not_kept"]),
            ("what all items read changes meanwhile", &["races::what_all_items_read_changes_meanwhile"]),
            ("a file goes before it is read", &["races::a_file_that_goes_before_it_is_read"]),
            ("a stage writes what another reads as a source", &["races::a_stage_that_writes_what_another_reads_as_a_source"]),
            ("a source that the pipeline publishes", &["pipelines::invalid::publish-a-source"]),
            ("a program writes to its input", &["lend::a_program_that_writes_to_its_input_is_named"]),
            ("a program writes to a source", &["lend::a_program_that_writes_to_a_source_is_named"]),
            ("a change within a tick of the clock", &["clocks::equal_size_and_time_are_not_equal_content"]),
            ("a source inside the store", &["odd::a_source_in_the_store", "odd::a_link_into_a_store"]),
        ],
    ),
    (
        "items",
        &[
            ("added", &["items::an_added_file_costs_one_item"]),
            ("removed", &["items::a_removed_file_costs_none"]),
            ("renamed", &["items::a_renamed_file_costs_none"]),
            ("equal content", &["items::equal_files_are_treated_once_a_run_later"]),
            ("none at all", &["bad_input::a_folder_without_images"]),
            ("one bad item", &["items::a_bad_item_is_judged_once"]),
            ("too many bad items", &["quarantine::a_bound_is_a_number_or_a_share"]),
            ("a param for all", &["items::a_param_reruns_every_item"]),
            ("stages share them", &["items::stages_share_items"]),
            ("a program per item", &["per_item::each_item_is_treated_once"]),
            ("a failure among them", &["per_item::a_failure_costs_what_had_not_ended"]),
            #[cfg(feature = "torch")]
            ("on a device", &["features::an_image_meets_a_backbone_once", "features::features_do_not_depend_on_their_neighbours"]),
        ],
    ),
    (
        "axes",
        &[
            ("product, one axis gathered, one picked", &["axes::a_gather_of_one_axis_is_a_task_for_each_value_of_the_other"]),
            ("no cell in common", &["pipelines::invalid::no-cell-in-common"]),
            ("skip or keep that matches nothing", &["pipelines::invalid::skip-no-cell", "pipelines::invalid::nothing-kept"]),
            ("values that look like dates, truth values", &["pipelines::invalid::a-date", "axes::truth_values_are_values"]),
            ("a value more, a value fewer", &["axes::a_value_more_runs_its_cells_and_a_value_fewer_the_gather"]),
            ("what a value left can be collected", &["axes::what_a_value_left_can_be_collected"]),
            ("pick a cell that is not there", &["pipelines::invalid::pick-by-missing-cell", "pipelines::invalid::pick-skipped-cell"]),
            ("order of values", &["rerun::what_is_not_content_reruns_nothing"]),
            ("a million cells", &["odd::a_sweep_too_large_to_be_meant", "axes::an_axis_of_a_million_values"]),
        ],
    ),
    (
        "crash",
        &[
            #[cfg(feature = "crash-points")]
            ("at every named point", &["crash::every_crash_point_is_tried"]),
            (
                "after any event, at any time",
                &[
                    "kills::a_kill_after_any_event_repeats_only_what_had_not_ended",
                    "kills::a_kill_after_any_time_leaves_what_a_clean_run_leaves",
                ],
            ),
            ("any call of the system fails", &["faults::any_call_may_fail_at_any_moment"]),
            ("what cannot be synced", &["faults::what_cannot_be_synced_is_not_stored"]),
            ("at a random moment: engine, child, both", &["laws::a_run_that_was_killed_ends_as_one_that_was_not"]),
            ("a torn end of a pack", &["cache::a_pack_that_lost_its_end_is_found_and_mended"]),
            ("a full disk", &["limits::a_full_disk_under_a_command_loses_nothing", "limits::a_full_disk_under_a_kind_loses_nothing"]),
            ("a store that can only be read", &["limits::a_read_only_store_loses_nothing"]),
            ("two runs at once", &["engines::each_task_is_done_once"]),
            ("a claim of the dead", &["engines::a_killed_engines_task_is_taken_over"]),
            ("readers during a run", &["engines::readers_do_not_wait_for_a_run"]),
            (
                "interrupted once and twice",
                &["failure::an_interrupt_ends_the_run_in_order", "failure::two_interrupts_leave_nothing_running"],
            ),
            (
                "orphans",
                &[
                    "crash::a_killed_engine_takes_along_what_its_commands_started",
                    "crash::what_a_killed_engine_left_ends_before_anything_starts",
                ],
            ),
            #[cfg(feature = "torch")]
            ("in the middle of a training", &["learn::a_kill_in_the_middle_of_training_changes_no_bit"]),
        ],
    ),
    (
        "scheduling",
        &[
            ("an inherited mask", &["scheduling::an_inherited_mask_is_all_there_is"]),
            ("a mask of UUIDs", &["scheduling::a_mask_of_uuids_is_handed_on"]),
            ("a device each", &["scheduling::two_tasks_get_two_devices"]),
            ("fractions of a device", &["scheduling::two_halves_share_a_device"]),
            ("a failure gives its device back", &["scheduling::a_task_that_fails_gives_its_device_back"]),
            ("needs that nothing can meet", &["scheduling::needs_that_cannot_be_met_stop_the_run_before_it_starts"]),
            ("a limit of memory", &["scheduling::memory_of_running_tasks_stays_below_the_limit"]),
            ("the longest path first", &["scheduling::the_longest_path_starts_first", "scheduling::what_took_long_starts_first"]),
            ("nothing before its inputs", &["laws::nothing_starts_before_its_inputs_and_a_failure_skips_its_descendants"]),
            ("retried for named causes only", &["failure::an_exit_code_is_final_unless_named", "failure::a_killed_program_is_tried_again"]),
        ],
    ),
    (
        "failure policy",
        &[
            ("stop at the first", &["failure::fail_fast_starts_nothing_more"]),
            ("independent branches go on", &["failure::independent_branches_go_on"]),
            ("exactly the descendants are skipped", &["laws::nothing_starts_before_its_inputs_and_a_failure_skips_its_descendants"]),
            ("a failure is never cached", &["failure::a_failure_is_tried_again_by_the_next_run"]),
            ("shown at once, and in the end", &["words::a_task_that_fails"]),
            ("time is over", &["failure::a_timeout_ends_all_that_was_started"]),
            ("the exit code of quarantine", &["quarantine::what_is_accepted_makes_no_exit_code"]),
            ("effects wait", &["effects::an_effect_runs_only_when_asked_to"]),
        ],
    ),
    (
        "graph errors",
        &[
            ("a circle, and one through an axis", &["pipelines::invalid::circle", "pipelines::invalid::circle-through-an-axis"]),
            ("two publishers of one path", &["pipelines::invalid::two-publishers"]),
            ("a port that is missing", &["pipelines::invalid::missing-input"]),
            ("a wrong type", &["pipelines::invalid::wrong-artifact", "pipelines::invalid::test-data-in-training"]),
            ("an unknown key, with the nearest", &["pipelines::invalid::unknown-key"]),
            ("all at once, each with its place", &["pipelines::invalid::everything-at-once"]),
            ("ten thousand stages", &["odd::ten_thousand_stages_in_a_row", "odd::ten_thousand_stages_in_a_circle"]),
            (
                "blanks, quotes and line ends in names",
                &[
                    "odd::odd_names_of_files_arrive_as_they_are",
                    "odd::a_project_may_lie_in_an_odd_place",
                    "odd::what_is_written_may_have_an_odd_name",
                ],
            ),
            ("blanks and quotes in arguments", &["commands::every_placeholder_is_filled"]),
            ("a pipeline that is no text", &["odd::a_pipeline_that_is_no_text"]),
            ("links in a circle", &["odd::links_in_a_circle"]),
        ],
    ),
    (
        "store",
        &[
            ("a flipped bit", &["cache::a_flipped_bit_in_any_file_is_found_and_mended"]),
            ("gc never takes what is reached", &["gc::what_only_older_runs_reach_goes", "gc::a_named_run_stays"]),
            ("gc during a run", &["gc::a_run_that_goes_on_is_not_harmed"]),
            #[cfg(feature = "crash-points")]
            ("a kill during gc", &["gc::a_kill_at_any_point_leaves_a_whole_store"]),
            ("no locks", &["faults::a_store_without_locks_is_refused"]),
            ("no hard links", &["faults::a_store_without_hard_links_lends_copies"]),
            ("another layout", &["odd::a_store_of_another_layout_is_refused_and_left_alone"]),
            ("an edited publication", &["rerun::a_deleted_publication_is_put_back"]),
            ("what a program may do to its inputs", &["lend::a_program_may_do_what_it_likes_to_its_folder"]),
            (
                "people's data does not leave",
                &["level::what_is_identified_is_refused_before_anything_runs", "audit::what_is_published_from_peoples_data_is_said_once"],
            ),
        ],
    ),
    (
        "explain and plan",
        &[
            ("the words of a plan", &["words::a_plan_and_its_reasons"]),
            ("each sort of reason", &["words::a_reason_of_every_sort"]),
            (
                "a plan equals what then runs",
                &[
                    "laws::a_plan_equals_what_then_runs",
                    "axes::a_plan_of_any_sweep_equals_what_then_runs",
                    "rerun::plan_says_what_run_then_does",
                ],
            ),
            ("the last run is the last, whatever the clock", &["clocks::the_last_run_is_the_last_though_the_clock_was_set_back"]),
            ("how long it takes", &["seeing::a_plan_says_how_long"]),
            ("what ran and why", &["seeing::a_log_says_why_where_and_how_to_repeat_it"]),
            ("two runs compared", &["seeing::what_differs_between_two_runs"]),
            ("held valid after a cosmetic edit", &["seeing::a_result_is_accepted_after_a_cosmetic_edit"]),
        ],
    ),
];

/// The name of a trial: in front of it the first group that lists it.
pub(crate) fn placed(name: &str) -> String {
    let lists = |cases: &[Case]| cases.iter().any(|(_, trials)| trials.contains(&name));
    match CASES.iter().find(|(_, cases)| lists(cases)) {
        Some((group, _)) => format!("conformance::{}::{name}", group.replace(' ', "-")),
        None => name.to_owned(),
    }
}

/// Every case is held by trials that there are, `all` of them.
pub(crate) fn trial(all: &[Trial]) -> Trial {
    let names: BTreeSet<String> = all.iter().map(|trial| trial.name().to_owned()).collect();
    Trial::test("conformance::every_case_has_its_trials", move || {
        let (mut cases, mut held, mut missing, mut lines) = (0, BTreeSet::new(), Vec::new(), String::new());
        for (group, listed) in CASES {
            let trials: BTreeSet<&str> = listed.iter().flat_map(|(_, trials)| *trials).copied().collect();
            missing.extend(trials.iter().filter(|name| !names.contains(&placed(name))).copied());
            lines += &format!("{group:<18} {:>3} cases {:>3} trials\n", listed.len(), trials.len());
            cases += listed.len();
            held.extend(trials);
        }
        println!("{lines}{:<18} {cases:>3} cases {:>3} trials", "together", held.len());
        if missing.is_empty() { Ok(()) } else { Err(format!("there is no trial {}", missing.join(", ")).into()) }
    })
}
