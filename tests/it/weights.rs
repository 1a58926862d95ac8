//! `tomograph weights` and `backbones`: downloads from a server of this test that breaks off, goes on, or serves something else.

use crate::space::Space;
use libtest_mimic::Trial;
use md5::{Digest as _, Md5};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_table_of_backbones,
        a_download_goes_on_where_it_broke_off,
        a_file_with_another_checksum_is_refused,
        what_a_mirror_serves_is_verified_by_its_own_checksums,
        what_cannot_be_fetched_is_named
    ]
}

/// A web server with one body for every path below `tensorflow/`, which closes each connection after so many bytes of it.
struct Server {
    address: String,
    /// Path, and first byte asked for, of every request so far.
    asked: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Server {
    fn start(body: Vec<u8>, at_once: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        // Ends with the tests: a thread that waits for nobody.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away early is no fault of the server's.
                let _ = serve(stream, &body, at_once, &record);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().iter().map(|(_, from)| *from).collect()
    }
}

fn serve(mut stream: TcpStream, body: &[u8], at_once: usize, asked: &Mutex<Vec<(String, usize)>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = 0;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let line = line.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    asked.lock().unwrap().push((path.clone(), from));
    if !path.starts_with("/tensorflow/") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let total = body.len();
    let rest = &body[from.min(total)..];
    let status =
        if from > 0 { format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}", total - 1) } else { "200 OK".to_owned() };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    stream.write_all(&rest[..rest.len().min(at_once)])
}

/// Bytes that are different everywhere.
fn body() -> Vec<u8> {
    (0..10_000u32).flat_map(u32::to_le_bytes).collect()
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(space: &Space, name: &str) -> Vec<u8> {
    std::fs::read(space.path(name)).unwrap()
}

fn the_table_of_backbones() {
    let space = Space::new();
    let table = space.run("backbones").success();
    let row = |name: &str| {
        table.stdout.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(row("efficientnetb0"), ["efficientnetb0", "32", "224", "1280", "4049571", "built", "in"]);
    assert_eq!(row("inceptionresnetv2"), ["inceptionresnetv2", "75", "299", "1536", "54336736", "tf"]);
    let json = space.run("backbones --json").success();
    let rows: Vec<serde_json::Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let vgg = rows.iter().find(|row| row["name"] == "vgg16").unwrap();
    assert_eq!((vgg["parameters"].as_u64(), vgg["scaling"].as_str()), (Some(14_714_688), Some("caffe")));
    assert_eq!(rows.len(), tomograph::stages::backbones::BACKBONES.len());
    let list = space.run("weights list").success();
    list.says(&["6d6bbae143d832006294945121d1f1fc", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "~58.9 MB"]);
}

fn a_download_goes_on_where_it_broke_off() {
    let space = Space::new();
    let server = Server::start(body(), 6000);
    let from = format!("weights get mobilenet --from {}", server.address);
    space.run(&from).exits(1).says(&["it broke off after 24000 bytes: give the command again to go on"]);
    assert!(!space.path("weights/mobilenet.h5").exists());
    space.run(&from).success().says(&["weights/mobilenet.h5, 40.0 kB; Keras publishes no checksum for it"]);
    assert_eq!(read(&space, "weights/mobilenet.h5"), body());
    assert_eq!(server.asked(), [0, 6000, 12_000, 18_000, 24_000, 30_000, 36_000]);
    let first = server.asked.lock().unwrap()[0].0.clone();
    assert_eq!(first, "/tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5");
    // What is here is not asked for again.
    space.run(&from).success().says(&["weights/mobilenet.h5 is here"]);
    assert_eq!(server.asked().len(), 7);
    let names: Vec<_> = std::fs::read_dir(space.path("weights")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["mobilenet.h5"]);
}

fn a_file_with_another_checksum_is_refused() {
    let space = Space::new();
    let server = Server::start(body(), usize::MAX);
    let sums = ["what came is not the published file", &md5(&body()), "64373286793e3c8b2b4e3219cbf3544b"];
    space.run(&format!("weights get vgg16 --top --from {}", server.address)).exits(1).says(&sums);
    assert!(std::fs::read_dir(space.path("weights")).unwrap().next().is_none(), "nothing of it is left");
}

fn what_a_mirror_serves_is_verified_by_its_own_checksums() {
    let space = Space::new();
    let server = Server::start(body(), usize::MAX);
    let sum = md5(&body());
    space.write(
        "tomograph.local.toml",
        format!("[weights]\nfolder = \"mine\"\nfrom = \"{}\"\nmd5 = {{ vgg16 = \"{sum}\" }}\n", server.address),
    );
    space.run("weights get vgg16").success().says(&["mine/vgg16.h5, 40.0 kB"]);
    let here = || {
        let list = space.run("weights list --verify --json").success();
        let rows = list.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.into_iter().find(|row| row["backbone"] == "vgg16").unwrap()["here"].as_str().unwrap().to_owned()
    };
    assert_eq!(here(), "yes");
    space.write("mine/vgg16.h5", "something else");
    assert_eq!(here(), "another file");
    space.run("weights get vgg16").exits(1).says(&["mine/vgg16.h5 is not the published file", &sum, "--overwrite replaces it"]);
    space.run("weights get vgg16 --overwrite").success();
    assert_eq!(here(), "yes");
    assert_eq!(read(&space, "mine/vgg16.h5"), body());
}

fn what_cannot_be_fetched_is_named() {
    let space = Space::new();
    let server = Server::start(body(), usize::MAX);
    space.run("weights get vgg61").exits(2).says(&["there is no backbone `vgg61`", "vgg16"]);
    let from = &server.address;
    space
        .run(&format!("weights get efficientnetb0 --from {from}"))
        .exits(1)
        .says(&["efficientnetb0: ", "/keras-applications/efficientnetb0_notop.h5: the server answers with status 404"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    space.run(&format!("weights get mobilenet --from http://{closed}")).exits(1).says(&["cannot fetch it"]);
}
