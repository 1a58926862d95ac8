//! What users of other engines were bitten by, case by case, and the trials that hold each here.
//!
//! A case names its trials; one trial says how many cases each group has, and fails where a name is no trial's. Cases that no file of
//! its own has are at the foot of this one. Left out, as there is no such thing here: a lock file that git keeps, pools of a depth, a
//! scheduler's variants of a request, memory of a GPU as a resource, a count of failures to stop after (`--fail-fast` stops at one), a
//! remote cache (of a later issue).

use crate::numbers::{PIPELINE, TASKS, ran, space};
use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

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
            ("a stage has another name", &["conformance::a_renamed_stage_runs_nothing"]),
            ("the project has moved", &["rerun::a_moved_project_reruns_nothing"]),
            ("the project was copied", &["conformance::a_copied_project_runs_nothing"]),
            ("started in another folder", &["conformance::another_working_folder_runs_nothing"]),
            ("files from the future", &["conformance::clocks_that_jump_fool_nobody"]),
            ("needs, policy and threads differ", &["commands::what_is_in_no_key_runs_nothing_again"]),
        ],
    ),
    (
        "must rerun",
        &[
            ("content of equal size and time", &["conformance::equal_size_and_time_are_not_equal_content"]),
            ("a param that is used", &["rerun::a_changed_value_reruns_its_cell"]),
            ("a file added, removed, changed", &["rerun::a_changed_file_reruns_what_depends_on_it", "items::an_added_file_costs_one_item"]),
            ("a file of the code", &["rerun::edited_code_reruns_its_stage"]),
            ("an output port is added", &["conformance::another_output_is_another_result"]),
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
            ("a gather stays though an item ran again", &["items::equal_files_are_treated_once_a_run_later"]),
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
            ("a program writes to its input", &["lend::a_program_that_writes_to_its_input_is_named"]),
            ("a program writes to a source", &["lend::a_program_that_writes_to_a_source_is_named"]),
            ("a change within a tick of the clock", &["conformance::equal_size_and_time_are_not_equal_content"]),
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
            ("product", &["pipelines::the_listing_shows_what_will_run"]),
            ("no cell in common", &["pipelines::invalid::no-cell-in-common"]),
            ("skip or keep that matches nothing", &["pipelines::invalid::skip-no-cell", "pipelines::invalid::nothing-kept"]),
            ("values that look like dates", &["pipelines::invalid::a-date"]),
            ("a value more, a value fewer", &["conformance::a_value_more_runs_its_cells_and_a_value_fewer_the_gather"]),
            ("gather one axis", &["pipelines::examples_and_pipelines_have_no_problem", "seeing::a_graph_shows_cells_when_asked"]),
            ("pick a cell that is not there", &["pipelines::invalid::pick-by-missing-cell", "pipelines::invalid::pick-skipped-cell"]),
            ("order of values", &["rerun::what_is_not_content_reruns_nothing"]),
            ("a million cells", &["odd::a_sweep_too_large_to_be_meant"]),
        ],
    ),
    (
        "crash",
        &[
            #[cfg(feature = "crash-points")]
            ("at every named point", &["crash::every_crash_point_is_tried"]),
            ("after any event", &["kills::a_kill_after_any_event_repeats_only_what_had_not_ended"]),
            ("at a random moment: engine, child, both", &["laws::a_run_that_was_killed_ends_as_one_that_was_not"]),
            ("a torn end of a pack", &["cache::a_pack_that_lost_its_end_is_found_and_mended"]),
            ("a full disk", &["limits::a_full_disk_under_a_command_loses_nothing", "limits::a_full_disk_under_a_kind_loses_nothing"]),
            ("a store that can only be read", &["limits::a_read_only_store_loses_nothing"]),
            ("two runs at once", &["engines::each_task_is_done_once"]),
            ("a claim of the dead", &["engines::a_killed_engines_task_is_taken_over"]),
            ("readers during a run", &["conformance::readers_do_not_wait_for_a_run"]),
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
            ("a failure is never cached", &["conformance::a_failure_is_tried_again_by_the_next_run"]),
            ("shown at once, and in the end", &["words::a_task_that_fails"]),
            ("time is over", &["failure::a_timeout_ends_the_whole_process_group"]),
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
            ("blanks, quotes and line ends in names", &["conformance::odd_names_of_files_arrive_as_they_are"]),
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
            ("an edited publication", &["rerun::a_deleted_publication_is_put_back"]),
            ("what a program may do to its inputs", &["lend::a_program_may_do_what_it_likes_to_its_folder"]),
            ("people's data does not leave", &["audit::what_is_published_from_peoples_data_is_said_once"]),
        ],
    ),
    (
        "explain and plan",
        &[
            ("the words of a plan", &["words::a_plan_and_its_reasons"]),
            ("a plan equals what then runs", &["laws::a_plan_equals_what_then_runs", "rerun::plan_says_what_run_then_does"]),
            ("how long it takes", &["seeing::a_plan_says_how_long"]),
            ("what ran and why", &["seeing::a_log_says_why_where_and_how_to_repeat_it"]),
            ("two runs compared", &["seeing::what_differs_between_two_runs"]),
            ("held valid after a cosmetic edit", &["seeing::a_result_is_accepted_after_a_cosmetic_edit"]),
        ],
    ),
];

/// The trials of this file; `others` are all others.
pub(crate) fn trials(others: &[Trial]) -> Vec<Trial> {
    let own = trials![
        a_renamed_stage_runs_nothing,
        a_copied_project_runs_nothing,
        another_working_folder_runs_nothing,
        clocks_that_jump_fool_nobody,
        equal_size_and_time_are_not_equal_content,
        another_output_is_another_result,
        a_value_more_runs_its_cells_and_a_value_fewer_the_gather,
        readers_do_not_wait_for_a_run,
        a_failure_is_tried_again_by_the_next_run,
        odd_names_of_files_arrive_as_they_are
    ];
    let names: BTreeSet<String> = others.iter().chain(&own).map(|trial| trial.name().to_owned()).collect();
    let all = Trial::test("conformance::every_case_has_its_trials", move || {
        let missing: Vec<&str> = CASES.iter().flat_map(|(_, cases)| *cases).flat_map(|(_, trials)| *trials).copied().collect();
        let missing: Vec<&str> = missing.into_iter().filter(|name| !names.contains(*name)).collect();
        let counts: Vec<String> = CASES.iter().map(|(group, cases)| format!("{group} {}", cases.len())).collect();
        let all: usize = CASES.iter().map(|(_, cases)| cases.len()).sum();
        println!("conformance: {all} cases: {}", counts.join(", "));
        if missing.is_empty() { Ok(()) } else { Err(format!("there is no trial {}", missing.join(", ")).into()) }
    });
    own.into_iter().chain([all]).collect()
}

/// The numbers, run once.
fn fresh() -> Space {
    let space = space();
    space.run("run numbers.toml").success();
    ran(&space);
    space
}

fn run(space: &Space) -> Vec<String> {
    space.run("run numbers.toml --json").success().tasks("ran")
}

fn a_renamed_stage_runs_nothing() {
    let space = fresh();
    let text = space.read(PIPELINE).replace("[stage.scale]", "[stage.times]").replace("\"scale[*]\"", "\"times[*]\"");
    space.write(PIPELINE, text);
    assert_eq!(run(&space), [""; 0]);
}

fn a_copied_project_runs_nothing() {
    for how in ["cp -a", "cp -r"] {
        let space = fresh();
        let copy = space.root().with_file_name("copy");
        let copied = Command::new("sh").arg("-c").arg(format!("{how} \"$0\" \"$1\"")).arg(space.root()).arg(&copy).status().unwrap();
        assert!(copied.success());
        let mut command = space.command(TOMOGRAPH);
        let output = space.finish(command.current_dir(&copy).args(["run", PIPELINE, "--json"])).success();
        assert_eq!(output.tasks("cached"), TASKS, "{how}");
    }
}

fn another_working_folder_runs_nothing() {
    let space = fresh();
    let mut command = space.command(TOMOGRAPH);
    let output = space.finish(command.current_dir(space.path("tools")).args(["run", "../numbers.toml", "--json"])).success();
    assert_eq!(output.tasks("cached"), TASKS);
}

/// Gives a file a time, as `touch -d` reads it.
fn touch(space: &Space, path: &str, time: &str) {
    assert!(Command::new("touch").args(["-d", time]).arg(space.path(path)).status().unwrap().success());
}

fn clocks_that_jump_fool_nobody() {
    let space = fresh();
    for time in ["2100-01-01", "1971-01-01", "2100-01-01"] {
        touch(&space, "numbers/c.txt", time);
        assert_eq!(run(&space), [""; 0], "{time}");
        // Another content under the same odd time.
        let number: u32 = space.read("numbers/c.txt").trim().parse().unwrap();
        space.write("numbers/c.txt", format!("{}\n", number + 1));
        touch(&space, "numbers/c.txt", time);
        assert_eq!(run(&space), TASKS, "{time}");
    }
}

fn equal_size_and_time_are_not_equal_content() {
    let space = space();
    // At once after a run, too: within a tick of the clock.
    for number in 40..44 {
        space.write("numbers/c.txt", format!("{number}\n"));
        touch(&space, "numbers/c.txt", "2020-02-02 02:02:02");
        space.run("run numbers.toml").success();
        assert_eq!(space.read("results/total.tsv"), format!("sum\n{}\n", 6 * (3 + number)));
    }
}

fn another_output_is_another_result() {
    let space = fresh();
    space.replace(
        PIPELINE,
        "outputs = { table = \"table\" }\ncode    = [\"tools/gather.sh\"]",
        "outputs = { table = \"table\", more = \"files\" }\ncode    = [\"tools/gather.sh\"]",
    );
    space.run("plan numbers.toml").success().says(&["gather"]);
    // The program does not make it.
    space.run("run numbers.toml").exits(1).says(&["more"]);
}

fn a_value_more_runs_its_cells_and_a_value_fewer_the_gather() {
    let space = fresh();
    space.replace(PIPELINE, "by = [1, 2, 3]", "by = [1, 2, 3, 4]");
    assert_eq!(run(&space), ["scale[by=4]", "total"]);
    space.replace(PIPELINE, "by = [1, 2, 3, 4]", "by = [1, 2]");
    assert_eq!(run(&space), ["total"]);
    assert_eq!(space.read("results/total.tsv"), "sum\n126\n");
}

fn readers_do_not_wait_for_a_run() {
    let space = fresh();
    space.replace("tools/gather.sh", "echo gather >> ran.txt", "echo gather >> ran.txt; while ! [ -e go ]; do sleep 0.02; done");
    let mut engine = space.command(TOMOGRAPH);
    let mut engine = engine.args(["run", PIPELINE]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !space.path("ran.txt").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for line in [
        "plan numbers.toml",
        "why numbers.toml gather",
        "history numbers.toml",
        "log numbers.toml",
        "graph numbers.toml",
        "cache size",
        "cache verify",
    ] {
        space.run(line).success();
    }
    assert!(engine.try_wait().unwrap().is_none(), "the run was over before anybody read");
    space.write("go", "");
    assert!(engine.wait().unwrap().success());
}

fn a_failure_is_tried_again_by_the_next_run() {
    let space = fresh();
    space.replace("tools/total.sh", "echo total >> ran.txt", "echo total >> ran.txt; [ -e go ] || exit 1");
    for _ in 0..2 {
        space.run("run numbers.toml").exits(1);
        assert_eq!(ran(&space), ["total"]);
    }
    // What the failure hung on is in no key: it is tried, not remembered.
    space.write("go", "");
    assert_eq!(run(&space), ["total"]);
}

fn odd_names_of_files_arrive_as_they_are() {
    let space = space();
    for name in ["two words.txt", "quote\"s and 'more'.txt", "-rf.txt", "ü.txt", "$HOME.txt"] {
        space.write(format!("numbers/{name}"), "1\n");
    }
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), format!("sum\n{}\n", 6 * (42 + 5)));
    // A manifest has a line per file: such a name is refused, with what finds it.
    space.write("numbers/line\nend.txt", "1\n");
    space.run("run numbers.toml").exits(1).says(&["a name with a newline in it: find it with"]);
    fs::remove_file(space.path("numbers/line\nend.txt")).unwrap();
    // A name that is no text is refused with its place.
    let odd = std::os::unix::ffi::OsStringExt::from_vec(b"numbers/\xff.txt".to_vec());
    let odd: std::ffi::OsString = odd;
    fs::write(space.path(odd), "1\n").unwrap();
    space.run("run numbers.toml").exits(1).says(&["source `numbers`"]);
}
