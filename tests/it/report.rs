//! `report.html`, as a page on disk and in a browser. Programs stand for trainings, so that no libtorch is needed.

use crate::Need;
use crate::space::Space;
use crate::study;
use libtest_mimic::Trial;
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_page_says_all_that_is_known,
        what_nothing_is_connected_to_is_left_out,
        failed_cells_are_holes_of_a_page,
        pictures_of_people_stay_out,
        a_page_made_again_may_differ_in_when_it_was_made,
        a_browser_shows_it_without_error_or_request: [Need::Program("chromium", "chromium")],
    ]
}

const STAGES: &str = r#"[stage.train]
over    = ["backbone", "region"]
command = ["sh", "train.sh", "{backbone}", "{seed}", "{region}", "{inputs.arrays}", "{outputs.model}", "{outputs.history}", "{outputs.predictions}"]
inputs  = { arrays = "pack.train" }
outputs = { model = "model", history = "history", predictions = "predictions" }

[stage.test]
command = ["sh", "test.sh", "{backbone}", "{seed}", "{region}", "{inputs.model}", "{inputs.arrays}", "{outputs.metrics}", "{outputs.predictions}"]
inputs  = { model = "train", arrays = "pack.test" }
outputs = { metrics = "metrics", predictions = "predictions" }

[stage.contours]
command = ["sh", "contours.sh", "{outputs.figure}"]
outputs = { figure = "figure" }

[stage.table]
kind    = "report.table"
inputs  = { runs = "test[*]" }

[stage.report]
kind    = "report.html"
inputs  = { runs = "test[*]", validation = "train.predictions[*]", predictions = "test.predictions[*]", histories = "train.history[*]", figures = "contours", tables = "table.table" }
publish = { report = "results/report" }
"#;

/// Scores that are right the more often the better the network is; on images without lungs, hardly.
const SCORES: &str = r#"scores() {
    printf 'item\tsubject\tlabel\tpredicted\tscore_ill\tscore_well\n'
    awk -F'\t' -v net="$1" -v seed="$2" -v region="$3" 'NR > 1 {
        noise = (($1 * 7919 + seed * 104729 + length(net) * 1299709 + NR * NR * 31) % 1000) / 1000
        good = region == "outside" ? 0.1 : 0.25 + 0.05 * length(net)
        score = ($4 == "well" ? good : 0) + (1 - good) * noise
        printf "%s\t%s\t%s\t%s\t%.4f\t%.4f\n", $2, $3, $4, (score > 0.5 ? "well" : "ill"), 1 - score, score
    }' "$4/rows.tsv"
}
"#;

const TRAIN: &str = r#". ./scores.sh
[ "$1 $2 $3" = "$(cat failing.txt 2>/dev/null)" ] && exit 3
printf '{"of": "%s %s"}\n' "$1" "$3" > "$5/model.json"
printf '\002\000\000\000\000\000\000\000{}' > "$5/model.safetensors"
awk -v net="$1" -v seed="$2" 'BEGIN {
    print "epoch\tlearning_rate\ttrain_loss\ttrain_accuracy\ttrain_auc\tvalidation_loss\tvalidation_accuracy\tvalidation_auc"
    for (epoch = 1; epoch <= 12; epoch++) {
        loss = 0.7 * exp(-epoch / (4 + length(net)))
        printf "%d\t0.0001\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\n", epoch, loss, 1 - loss, 1 - loss / 2, loss + 0.05 + 0.01 * (epoch * seed % 3), 0.9 - loss, 0.95 - loss / 1.5
    }
}' > "$6"
scores "$1" "$2" "$3" "$4" > "$7"
"#;

const TEST: &str = r#". ./scores.sh
scores "$1" "$2" "$3" "$5" > "$7"
awk -F'\t' -v net="$1" -v region="$3" 'NR > 1 { n++; right += $3 == $4 } END {
    accuracy = right / n
    auc = region == "outside" ? 0.52 : 0.78 + 0.02 * length(net)
    printf "{\"role\": \"test\", \"n\": %d, \"metrics\": [{\"name\": \"accuracy\", \"value\": %.4f, \"low\": %.4f, \"high\": %.4f}, {\"name\": \"auc\", \"value\": %.4f, \"low\": %.4f, \"high\": %.4f}]", n, accuracy, accuracy - 0.08, accuracy + 0.07, auc, auc - 0.06, auc + 0.05
    of = "{\"unit\": \"patient\", \"patient\": \"mean\", \"n\": 6, \"clusters\": 6, \"clusters_of_class\": [3, 3], \"metrics\": [{\"name\": \"auc\", \"value\": 0.8, \"low\": 0.7, \"high\": 0.9}], \"cut\": "
    at = "\"validation\", \"threshold\": 0.41"
    if (region == "all") printf ", \"views\": [%s\"fixed\", \"threshold\": 0.5}, %s%s}, %s%s, \"group\": {\"column\": \"sex\", \"value\": \"F\"}}]", of, of, at, of, at
    print "}"
}' "$7" > "$6"
"#;

const CONTOURS: &str = r##"cat > "$1" <<'X'
<svg xmlns="http://www.w3.org/2000/svg" width="420" height="160" viewBox="0 0 420 160"><rect width="420" height="160" fill="#202020"/><ellipse cx="110" cy="80" rx="40" ry="60" fill="none" stroke="#38b6ff"/><ellipse cx="240" cy="80" rx="40" ry="60" fill="none" stroke="#ff8c1a"/></svg>
X
"##;

fn space() -> Space {
    let space = study::without_training();
    let text = space.read(study::PIPELINE);
    let text = text
        .replace("seed = [1, 2]", "seed = [1, 2]\nbackbone = [\"inception\", \"nas\", \"vgg16\"]\nregion = [\"all\", \"outside\"]")
        .replace("name = \"study\"", "name = \"study\"\nabout = { title = \"COVID-19 <on> X-rays\", licence = \"CC BY 4.0\" }");
    space.write(study::PIPELINE, text + STAGES);
    for (name, text) in [("scores.sh", SCORES), ("train.sh", TRAIN), ("test.sh", TEST), ("contours.sh", CONTOURS)] {
        space.write(name, text);
    }
    space
}

fn page(space: &Space) -> String {
    space.read("results/report/report.html")
}

fn a_page_says_all_that_is_known() {
    let space = space();
    let output = space.run("run study.toml").success();
    let page = page(&space);
    for part in [
        "<h1>COVID-19 &lt;on&gt; X-rays</h1>",
        "<dd>CC BY 4.0</dd>",
        "6 different models were ever evaluated on the same test data",
        "id=\"results\"",
        "measured on the validation set",
        "By image and by patient, at 0.5 and at the threshold that validation chose.",
        ">patient (mean)<",
        "By subgroup.",
        ">sex=F<",
        "ROC: well",
        "Precision–recall: well",
        "Calibration: well",
        "loss, by epoch",
        "outside (control)",
        "data:image/svg+xml,%3Csvg",
        ">dataset.pack<",
        "<code title=\"",
    ] {
        assert!(page.contains(part), "{part} is not in the page\n{}", output.text());
    }
    assert!(!page.contains("Left out"), "everything is connected");
    assert!(
        !["src=\"http", "href=\"http", "url(", "@import", "fetch("].iter().any(|way| page.contains(way)),
        "nothing elsewhere is asked for"
    );
    let figures: Vec<String> = std::fs::read_dir(space.path("results/report/figures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in [
        "pipeline.svg",
        "roc_all.svg",
        "calibration_outside-control.svg",
        "confusion_all_nas-seed-1.svg",
        "training_loss_nas-all-seed-2.svg",
    ] {
        assert!(figures.iter().any(|one| one == name), "{name} is not among {figures:?}");
    }
    let alone = space.read("results/report/figures/pipeline.svg");
    assert!(alone.starts_with("<svg xmlns=") && alone.contains("prefers-color-scheme:dark"), "{alone}");
    let told = space.run("whence results/report/report.html").success();
    assert!(
        told.stdout.contains("lineage ← the engine") && told.stdout.contains("\ntrain[backbone=nas,region=all,seed=1]\n"),
        "{}",
        told.text()
    );
    // The page is a result like any other.
    assert_eq!(space.run("run study.toml --json").success().tasks("ran"), [""; 0]);
    space.replace(study::PIPELINE, "licence = \"CC BY 4.0\"", "licence = \"CC0\"");
    assert_eq!(space.run("run study.toml --json").success().tasks("ran"), ["report"]);
}

fn what_nothing_is_connected_to_is_left_out() {
    let space = space();
    let text = space.read(study::PIPELINE);
    let (before, _) = text.split_once("inputs  = { runs = \"test[*]\", validation").unwrap();
    space.write(
        study::PIPELINE,
        format!("{before}inputs = {{ runs = \"test.metrics[region=all,*]\" }}\npublish = {{ report = \"results/report\" }}\n")
            .replace("[region=all,*]", "[region=all,backbone=*,seed=*]"),
    );
    let _ = space.run("run study.toml").success();
    let page = page(&space);
    for port in ["predictions", "histories", "figures"] {
        assert!(page.contains(&format!("Left out: nothing is connected to port `{port}`.")), "{port}\n{page}");
    }
    assert!(page.contains("no shortcut control was run"), "{page}");
}

fn failed_cells_are_holes_of_a_page() {
    let space = space();
    space.write("failing.txt", "nas 2 all\n");
    let _ = space.run("run study.toml").exits(1);
    let page = page(&space);
    let warning = page.find("<strong>Warning: </strong>2 of 24 runs failed: exit.").unwrap();
    assert!(warning < page.find("<main>").unwrap());
    assert!(page.contains("failed: exit") && page.contains("nas, all, seed 2: failed, exit."), "{page}");
    assert!(page.contains("12 tasks, 1 failed"), "{page}");
}

fn pictures_of_people_stay_out() {
    let space = space();
    space.replace(study::PIPELINE, "phi  = false", "phi  = true");
    let contours = "[stage.contours]\ncommand = [\"sh\", \"contours.sh\", \"{outputs.figure}\", \"{inputs.arrays}\"]\ninputs  = { arrays = \"pack.test[seed=1]\" }";
    space.replace(study::PIPELINE, "[stage.contours]\ncommand = [\"sh\", \"contours.sh\", \"{outputs.figure}\"]", contours);
    let _ = space.run("run study.toml").success();
    let page = page(&space);
    assert!(page.contains("Left out: pictures of identified data.") && !page.contains("data:image"), "{page}");
    assert!(page.contains("with counts below 5"), "small counts are hidden");
    // Subjects and items are p00 to p23.
    assert!(!(0..24).any(|patient| page.contains(&format!("p{patient:02}"))), "a subject is named");
}

fn a_page_made_again_may_differ_in_when_it_was_made() {
    let space = space();
    let _ = space.run("run study.toml").success();
    space.run("run study.toml --again report --publish").success().says(&["ran report"]);
}

/// Runs before everything on the page: notes what goes wrong, then sorts every table by every column and looks at all pictures.
const PROBE: &str = r#"<script>
const probe = { errors: [], pictures: 0, broken: [], tables: 0, unsorted: [] };
addEventListener("error", event => probe.errors.push(String(event.message || event.target.src)), true);
addEventListener("securitypolicyviolation", event => probe.errors.push(event.violatedDirective + " " + event.blockedURI));
console.error = console.warn = (...words) => probe.errors.push(words.join(" "));
addEventListener("load", () => {
  for (const image of document.images) { probe.pictures++; if (!image.complete || !image.naturalWidth) probe.broken.push(image.alt); }
  for (const svg of document.querySelectorAll("svg")) { probe.pictures++; if (!svg.getBoundingClientRect().width) probe.broken.push(svg.getAttribute("aria-label")); }
  for (const table of document.querySelectorAll("table.sortable")) {
    probe.tables++;
    const rows = table.tBodies[0].rows.length;
    [...table.querySelectorAll("thead tr:last-child th")].forEach((head, at) => {
      for (const _ of [0, 1]) {
        head.querySelector("button").click();
        const up = head.getAttribute("aria-sort") === "ascending";
        const values = [...table.tBodies[0].rows].map(row => row.cells[at].dataset.v ?? row.cells[at].textContent.trim()).filter(value => value !== "");
        const less = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
        const right = values.every((value, row) => row === 0 || (up ? less(values[row - 1], value) <= 0 : less(values[row - 1], value) >= 0));
        if (!right || table.tBodies[0].rows.length !== rows) probe.unsorted.push(head.textContent);
      }
    });
  }
  probe.requests = performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:"));
  probe.wide = document.documentElement.scrollWidth - innerWidth;
  document.body.replaceChildren(Object.assign(document.createElement("pre"), { id: "probe", textContent: JSON.stringify(probe) }));
});
</script>"#;

fn a_browser_shows_it_without_error_or_request() {
    let space = space();
    let _ = space.run("run study.toml").success();
    space.write("probe.html", page(&space).replacen("<style>", &format!("{PROBE}<style>"), 1));
    for width in [400, 1000, 1600] {
        let mut chromium = space.command("chromium");
        let flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"];
        chromium.args(flags).args(["--enable-logging=stderr", "--virtual-time-budget=5000"]).arg(format!("--window-size={width},900"));
        let output = space.finish(chromium.arg("--dump-dom").arg(format!("file://{}", space.path("probe.html").display()))).success();
        let (_, rest) = output.stdout.split_once("<pre id=\"probe\">").unwrap_or_else(|| panic!("no answer\n{}", output.text()));
        let answer = rest.split_once("</pre>").unwrap().0.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let found: Value = serde_json::from_str(&answer).unwrap();
        for nothing in ["errors", "broken", "unsorted", "requests"] {
            assert_eq!(found[nothing], serde_json::json!([]), "{width}: {nothing}: {found}");
        }
        assert!(found["pictures"].as_u64().unwrap() > 30 && found["tables"].as_u64().unwrap() >= 10, "{found}");
        assert!(found["wide"].as_i64().unwrap() <= 0, "at {width} pixels the page is wider than the screen: {found}");
        assert!(!output.stderr.contains("CONSOLE"), "{}", output.text());
    }
}
