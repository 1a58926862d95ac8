//! A made-up hospital in which every name, number and date is a canary: what finds one outside the store has found a leak.

use crate::space::Space;
use ndarray::{Array1, Array3};
use ndarray_npy::WriteNpyExt as _;

/// What no output and no file outside the store may hold, whatever its case: in names of files and folders, in values of tables and DICOM
/// elements, in what programs say, in bytes that make decoders fail.
pub(super) const CANARIES: [&str; 6] = ["zqcanary", "4242424242", "19420424", "1942-04-24", "20210417", "2021-04-17"];

const UID: &str = "1.2.826.0.1.3680043.10.4242424242";

/// Tag, value representation, value.
type Element<'a> = ((u16, u16), &'a [u8; 2], Vec<u8>);

/// An element in explicit little endian.
fn element(tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == b"UI" { 0 } else { b' ' });
    }
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    bytes.extend(vr);
    if [b"OB", b"OW"].contains(&vr) {
        bytes.extend([0, 0]);
        bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    } else {
        bytes.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
    }
    bytes.extend(value);
    bytes
}

/// A radiograph of 16 by 16 pixels; `term` is its photometric interpretation.
fn dicom(number: u16, term: &str, syntax: &str) -> Vec<u8> {
    let uid = |kind: &str| format!("{UID}.{kind}.{number}").into_bytes();
    let text = |value: &str| value.as_bytes().to_vec();
    let short = |value: u16| value.to_le_bytes().to_vec();
    let meta: Vec<u8> = [
        element((2, 1), b"OB", &[0, 1]),
        element((2, 2), b"UI", b"1.2.840.10008.5.1.4.1.1.1"),
        element((2, 3), b"UI", &uid("3")),
        element((2, 0x10), b"UI", syntax.as_bytes()),
    ]
    .concat();
    let length = element((2, 0), b"UL", &u32::try_from(meta.len()).unwrap().to_le_bytes());
    let pixels: Vec<u8> = (0..256u16).flat_map(|at| (at * number).to_le_bytes()).collect();
    let elements: [Element; 23] = [
        ((8, 0x16), b"UI", text("1.2.840.10008.5.1.4.1.1.1")),
        ((8, 0x18), b"UI", uid("3")),
        ((8, 0x20), b"DA", text("20210417")),
        ((8, 0x60), b"CS", text("CR")),
        ((8, 0x80), b"LO", text("ZQCANARY CLINIC")),
        ((8, 0x90), b"PN", text("ZQCANARY^REFERRER")),
        ((8, 0x1030), b"LO", text("chest of ZQCANARY")),
        ((0x10, 0x10), b"PN", text("ZQCANARY^JANE")),
        ((0x10, 0x20), b"LO", text(&format!("ZQCANARY-{number}"))),
        ((0x10, 0x30), b"DA", text("19420424")),
        ((0x10, 0x40), b"CS", text("F")),
        ((0x18, 0x5101), b"CS", text("PA")),
        ((0x20, 0xd), b"UI", uid("1")),
        ((0x20, 0xe), b"UI", uid("2")),
        ((0x28, 2), b"US", short(1)),
        ((0x28, 4), b"CS", text(term)),
        ((0x28, 0x10), b"US", short(16)),
        ((0x28, 0x11), b"US", short(16)),
        ((0x28, 0x100), b"US", short(16)),
        ((0x28, 0x101), b"US", short(16)),
        ((0x28, 0x102), b"US", short(15)),
        ((0x28, 0x103), b"US", short(0)),
        ((0x7fe0, 0x10), b"OW", pixels),
    ];
    let data: Vec<u8> = elements.iter().flat_map(|(tag, vr, value)| element(*tag, vr, value)).collect();
    [vec![0; 128], b"DICM".to_vec(), length, meta, data].concat()
}

/// A grey PNG of 8 by 8 pixels.
fn png(shade: u8) -> Vec<u8> {
    let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([shade.wrapping_add(u8::try_from(x * 8 + y).unwrap())]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A PNG with a critical chunk that nobody knows, in the middle of it and with a wrong sum.
fn odd_png() -> Vec<u8> {
    let mut bytes = png(9);
    let chunk = [8u32.to_be_bytes().to_vec(), b"ZQCANARYzqcanary1234".to_vec()].concat();
    bytes.splice(33..33, chunk);
    bytes
}

/// The hospital's files, and the pipeline that takes them in; `policy` is that of the imports.
pub(super) fn space() -> Space {
    let space = Space::new();
    let explicit = "1.2.840.10008.1.2.1";
    let pacs = |name: &str, bytes: &[u8]| space.write(format!("people/pacs/ZQCANARY^JANE 19420424/{name}"), bytes);
    (1..9).for_each(|number| pacs(&format!("4242424242.{number}.dcm"), &dicom(number, "MONOCHROME2", explicit)));
    pacs("zqcanary-term", &dicom(11, "ZQCANARY", explicit));
    pacs("zqcanary-syntax", &dicom(12, "MONOCHROME2", "ZQCANARY"));
    pacs("zqcanary-rle", &dicom(13, "MONOCHROME2", "1.2.840.10008.1.2.5"));
    pacs("zqcanary-again", &[dicom(1, "MONOCHROME2", explicit), element((0x7fe1, 0x10), b"LO", b"ZQCANARY")].concat());
    let whole = dicom(14, "MONOCHROME2", explicit);
    pacs("zqcanary-cut", &whole[..whole.len() - 77]);
    pacs("zqcanary.txt", b"ZQCANARY^JANE was here");
    let mut table = "picture,patient,visit,view,label,note\n".to_owned();
    for number in 0..24u8 {
        let name = format!("ZQCANARY^JANE/{number}-19420424.png");
        space.write(format!("people/pictures/{name}"), png(number * 5));
        let label = if number % 2 == 0 { "ill" } else { "well" };
        table += &format!("{name},ZQCANARY-{number},2021-04-17,PA,{label},\"ZQCANARY, born 19420424\"\n");
    }
    for (name, bytes) in [("zqcanary-odd.png", odd_png()), ("zqcanary.jpg", b"\xff\xd8\xff\xe0ZQCANARY".to_vec())] {
        space.write(format!("people/pictures/{name}"), bytes);
        table += &format!("{name},ZQCANARY-99,2021-04-17,PA,ill,ZQCANARY\n");
    }
    space.write("people/tables/labels.csv", table);
    SCRIPTS.iter().for_each(|(name, text)| space.write(format!("tools/{name}"), text));
    arrays(&space);
    space.write("people.toml", PIPELINE);
    space
}

/// Arrays whose parts fit together, but that a parser stumbles over.
fn arrays(space: &Space) {
    let write = |name: &str, bytes: Vec<u8>| space.write(format!("tools/arrays/{name}"), bytes);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    Array3::<u16>::zeros((2, 4, 3)).write_npy(&mut x).unwrap();
    Array1::<i64>::zeros(2).write_npy(&mut y).unwrap();
    write("X.npy", x);
    write("y.npy", y);
    write("rows.tsv", b"row\titem\tsubject\tlabel\n0\ta\tZQCANARY\till\n1\tb\tZQCANARY\till\n".to_vec());
    write("role.json", b"{\"role\": \"train\", \"classes\": [\"ill\", \"well\"], \"labels\": \"ZQCANARY^JANE\"}".to_vec());
}

const SCRIPTS: [(&str, &str); 6] = [
    // Says all it sees, and how far it is in the same words.
    (
        "says.sh",
        "ls -R \"$1\"; cat \"$1\"/index.tsv\n\
         echo '{\"done\":1,\"of\":2,\"text\":\"ZQCANARY^JANE\"}' >> \"$TOMOGRAPH_PROGRESS\"; sleep 0.3\n\
         cat \"$1\"/index.tsv >&2\n",
    ),
    ("table.sh", "sh tools/says.sh \"$1\"; printf 'name\\nZQCANARY^JANE\\n' > \"$2\"\n"),
    (
        "metrics.sh",
        "sh tools/says.sh \"$1\"; printf '{\"role\":\"test\",\"n\":9,\"classes\":[\"ill\",\"well\"],\"metrics\":[{\"name\":\"auc\",\"value\":0.5}]}' > \"$2\"\n",
    ),
    ("item.sh", "cat \"$1\" >&2; echo ZQCANARY^JANE; cp \"$1\" \"$2\"\n"),
    // No header, or another one for each item.
    ("wide.sh", "{ printf 'ZQCANARY-%s\\n' $(cksum < \"$1\" | cut -c1-5); echo 1; } > \"$2\"\n"),
    // `$3` says how it goes wrong.
    (
        "fails.sh",
        "sh tools/says.sh \"$1\"\n\
         case $3 in\n\
         exit) exit 3 ;;\n\
         signal) kill -SEGV $$ ;;\n\
         memory) echo ZQCANARY: out of memory; exit 1 ;;\n\
         rows) printf 'item\\tZQ\\nZQCANARY\\n' > \"$2\"/index.tsv ;;\n\
         column) printf 'item\\tfile\\tsubject\\tsession\\tview\\twidth\\theight\\nZQCANARY\\tzqcanary.png\\t\\t\\t\\t1\\t1\\n' > \"$2\"/index.tsv ;;\n\
         link) ln -s /ZQCANARY \"$2\"/zqcanary.png ;;\n\
         bytes) touch \"$2\"/\"$(printf 'zqcanary\\377')\" ;;\n\
         writes) touch 'people/pictures/ZQCANARY^JANE/0-19420424.png'; printf x > \"$2\"/x ;;\n\
         adds) echo > people/pictures/zqcanary-new.png; printf x > \"$2\"/x ;;\n\
         esac\n",
    ),
];

/// What goes well.
const PIPELINE: &str = r#"[pipeline]
name = "people"

[source.pacs]
path = "people/pacs"
phi  = true

[source.pictures]
path = "people/pictures"
phi  = true

[source.table]
path = "people/tables/labels.csv"
phi  = true

[stage.studies]
kind   = "dicom.import"
inputs = { files = "pacs" }
policy = { max_quarantine = "100%" }

[stage.rendered]
kind   = "dicom.render"
inputs = { studies = "studies" }
policy = { max_quarantine = "100%" }

[stage.images]
kind   = "images.import"
inputs = { files = "pictures", table = "table" }
params = { file = "picture", subject = "patient", session = "visit" }
policy = { max_quarantine = "100%" }

[stage.small]
kind   = "images.prepare"
inputs = { images = "images" }
params = { size = 8 }

[stage.cohort]
kind   = "cohort.label"
inputs = { index = "images" }

[stage.split]
kind   = "cohort.split"
inputs = { cohort = "cohort" }
params = { seed = 1 }

[stage.pack]
kind   = "dataset.pack"
inputs = { images = "small", split = "split" }

[stage.each]
command = ["sh", "tools/item.sh", "{inputs.images}", "{outputs.images}"]
inputs  = { images = "small" }
outputs = { images = "images" }
map     = "images"

[stage.told]
command = ["sh", "tools/table.sh", "{inputs.images}", "{outputs.table}"]
inputs  = { images = "small" }
outputs = { table = "table" }
code    = ["tools/*.sh"]

[stage.score]
command = ["sh", "tools/metrics.sh", "{inputs.images}", "{outputs.metrics}"]
inputs  = { images = "small" }
outputs = { metrics = "metrics" }
code    = ["tools/*.sh"]

[stage.table-of-results]
kind    = "report.table"
inputs  = { runs = { mine = "score.metrics" } }
publish = { table = "results/table.csv" }

[stage.page]
kind    = "report.html"
inputs  = { runs = { mine = "score.metrics" }, tables = { told = "told" } }
publish = { report = "results/page" }
"#;

/// A stage for each way in which a program goes wrong, and what kinds refuse.
pub(super) fn failing() -> String {
    let mut text = PIPELINE.replace("[pipeline]\nname = \"people\"", "[pipeline]\nname = \"failing\"").replace("results/", "elsewhere/");
    for (way, artifact) in [
        ("exit", "files"),
        ("signal", "files"),
        ("memory", "files"),
        ("rows", "images"),
        ("column", "images"),
        ("link", "files"),
        ("bytes", "files"),
        ("writes", "files"),
        ("adds", "files"),
    ] {
        // What moves a source reads it, so that it is looked at again.
        let input = if ["writes", "adds"].contains(&way) { "pictures" } else { "small" };
        text += &format!(
            "\n[stage.{way}]\ncommand = [\"sh\", \"tools/fails.sh\", \"{{inputs.images}}\", \"{{outputs.made}}\", \"{way}\"]\n\
             inputs = {{ images = \"{input}\" }}\noutputs = {{ made = \"{artifact}\" }}\npolicy = {{ retries = 1 }}\n"
        );
    }
    text + r#"
[stage.strict]
kind   = "dicom.import"
inputs = { files = "pacs" }

[stage.wide]
command = ["sh", "tools/wide.sh", "{inputs.images}", "{outputs.made}"]
inputs  = { images = "images" }
outputs = { made = "table" }
map     = "images"

[stage.wrong-column]
kind   = "images.import"
inputs = { files = "pictures", table = "table" }
params = { file = "note" }

[stage.wrong-label]
kind   = "cohort.label"
inputs = { index = "images" }
params = { label = "note", values = { ill = ["x"], well = ["y"] } }

[stage.two-labels]
kind   = "cohort.label"
inputs = { index = "images" }
params = { label = "note" }

[stage.no-images]
kind   = "dataset.pack"
inputs = { images = "rendered", split = "split" }

[stage.other-classes]
kind   = "dataset.pack"
inputs = { images = "small", split = "split" }
params = { classes = ["a", "b"] }

[stage.stumbles]
command = ["sh", "-c", "cp tools/arrays/* $0", "{outputs.arrays}", "{inputs.images}"]
inputs  = { images = "small" }
outputs = { arrays = "arrays" }

[stage.stumbled]
kind   = "classifier.train"
inputs = { train = "stumbles", validation = "stumbles" }
params = { backbone = "mobilenet", seed = 1, epochs = 1 }

[stage.no-arrays]
kind   = "npy.import"
inputs = { files = "pictures" }
params = { seed = 1 }
"#
}
