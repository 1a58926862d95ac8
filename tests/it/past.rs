//! Results of past runs, after their pipeline has become another: stages renamed, values gone, sources found to hold people's data.

use crate::numbers::{PIPELINE, space};
use crate::space::Space;
use libtest_mimic::Trial;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_past_run_is_seen_as_its_pipeline_was,
        what_was_laid_over_a_past_run_is_part_of_it,
        the_text_of_a_past_run_is_kept_with_its_base,
        history_needs_no_pipeline_that_is_right,
        what_is_learnt_of_people_counts_for_past_runs,
        a_run_without_a_text_is_seen_as_the_pipeline_is,
    ]
}

/// A run that has a name, and a pipeline that became another since: `scale` is called `times`, and 3 is no value any more.
fn renamed() -> Space {
    let space = space();
    space.run_args(&["run", PIPELINE, "--name", "sent"]).success();
    space.write(PIPELINE, space.read(PIPELINE).replace("stage.scale", "stage.times").replace("scale[*]", "times[*]"));
    space.replace(PIPELINE, "by = [1, 2, 3]", "by = [1, 2]");
    space.run("run numbers.toml").success();
    space
}

fn a_past_run_is_seen_as_its_pipeline_was() {
    let space = renamed();
    let sees = |space: &Space| {
        space.run("show numbers.toml scale[by=3] --run @sent").success().says(&["scale[by=3]", "117"]);
        space.run("log numbers.toml scale[by=3] --run @sent").success().says(&["scale[by=3]: ran in "]);
        space.run("export numbers.toml scale[by=3] out/three --run @sent").success();
        assert_eq!(space.read("out/three/table.tsv"), "number\n3\n6\n117\n");
        fs::remove_dir_all(space.path("out")).unwrap();
        assert_eq!(space.run("show numbers.toml scale --run @sent --json").success().objects().len(), 3, "every cell of then");
        space.run("show numbers.toml total --run @sent").success().says(&["252"]);
        space.run("show numbers.toml total --run @last").success().says(&["126"]);
    };
    sees(&space);
    space.run("log numbers.toml scale").success().says(&["scale[by=1]: ran in ", "scale[by=3]: ran in "]);
    space.run("log numbers.toml scale[by=3]").success().says(&["scale[by=3]: ran in "]);
    space.run("log numbers.toml scal").exits(2).says(&["there is no stage `scal`"]);
    // Its names are not those of now, either way.
    space.run("show numbers.toml times --run @sent").exits(2).says(&["there is no stage `times`"]);
    space.run("show numbers.toml scale").exits(2).says(&["there is no stage `scale`"]);
    // What is named stays, with its text.
    space.run("cache gc --keep-last 1 --spare 0s").success();
    space.run("cache reindex").success();
    sees(&space);
}

fn what_was_laid_over_a_past_run_is_part_of_it() {
    let space = space();
    // The pipeline's name in the store begins with this.
    space.write("tomograph.toml", "[project]\nid = \"lab: chest\"\n");
    space.run("run numbers.toml --axis by=7 --only scale --name seven").success();
    space.run("show numbers.toml scale[by=7] --run @seven").success().says(&["273"]);
    space.run("show numbers.toml scale[by=7]").exits(2).says(&["has no value `7`"]);
    assert_eq!(space.run("history numbers.toml --text @seven").success().stdout, space.read(PIPELINE));
}

fn the_text_of_a_past_run_is_kept_with_its_base() {
    let space = space();
    space.write("base.toml", space.read(PIPELINE));
    let own = "[pipeline]\nname = \"numbers\"\nbase = \"base.toml\"\n\n[axes]\nby = [5]\n";
    space.write("numbers.toml", own);
    space.run("run numbers.toml --name five").success();
    let both = format!("# ==== numbers.toml\n{own}\n# ==== base.toml\n{}", space.read("base.toml"));
    space.replace("base.toml", "stage.scale", "stage.times");
    space.replace("base.toml", "scale[*]", "times[*]");
    space.run("show numbers.toml scale[by=5] --run @five").success().says(&["195"]);
    assert_eq!(space.run("history numbers.toml --text @five").success().stdout, both);
    space.run("history numbers.toml --text @six").exits(2).says(&["no run is called six"]);
    // A run in which nothing is done keeps its text too.
    space.run("run numbers.toml").success();
    space.replace("base.toml", "# Numbers", "# The numbers");
    space.run("run numbers.toml --name again").success();
    space.run("history numbers.toml --text @again").success().says(&["# The numbers"]);
}

fn history_needs_no_pipeline_that_is_right() {
    let space = space();
    let text = space.read(PIPELINE);
    space.run("history numbers.toml").success().says(&["no run yet"]);
    space.run("history numbers.toml --text @last").exits(2).says(&["there is no run yet"]);
    space.run("history number.toml").exits(2).says(&["cannot read the pipeline number.toml"]);
    space.run("run numbers.toml --name sent").success();
    space.write(PIPELINE, "[pipeline\n");
    for _ in 0..2 {
        space.run("history numbers.toml").success().says(&["5 ran", "sent"]);
        assert_eq!(space.run("history numbers.toml --text @last").success().stdout, text);
        let _ = fs::remove_file(space.path(PIPELINE));
    }
    space.run("history number.toml").exits(2).says(&["cannot read the pipeline number.toml"]);
    space.run("history numbers.toml --forget sent").success();
}

fn what_is_learnt_of_people_counts_for_past_runs() {
    // Under its name, at its place, and where it cannot be told which one it is.
    for edit in [("", ""), ("numbers]", "pacs]"), ("numbers]\npath = \"numbers\"", "pacs]\npath = \"tools\"")] {
        is_withheld(edit);
    }
}

fn is_withheld((from, to): (&str, &str)) {
    let space = renamed();
    space.replace(PIPELINE, "phi  = false", "phi  = true");
    space.write(PIPELINE, space.read(PIPELINE).replace(&format!("[source.{from}"), &format!("[source.{to}")));
    if !to.is_empty() {
        space.replace(PIPELINE, "files = \"numbers\"", "files = \"pacs\"");
        space.replace(PIPELINE, "[stage.total]", "[stage.sum]");
    }
    let shown = space.run("show numbers.toml scale[by=3] --run @sent").success();
    assert!(shown.stdout.contains("people's data") && !shown.stdout.contains("117"), "{}", shown.text());
    let refused = space.run("export numbers.toml scale[by=3] out --run @sent").exits(1);
    assert!(refused.stderr.contains("never leaves the store") && !space.path("out").exists(), "{}", refused.text());
}

fn a_run_without_a_text_is_seen_as_the_pipeline_is() {
    let space = space();
    space.run("run numbers.toml --name old").success();
    let journals = fs::read_dir(space.path("cache/runs")).unwrap().next().unwrap().unwrap().path();
    let journal = fs::read_dir(journals).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&journal).unwrap();
    assert!(text.contains("\"texts\":"));
    fs::write(&journal, text.replace("\"texts\":", "\"others\":")).unwrap();
    space.run("show numbers.toml total --run @old").success().says(&["252"]);
    space.run("history numbers.toml --text @old").exits(2).says(&["is not in the store"]);
}
