//! After a load from known people, every byte that the program wrote is searched for them, in many forms.
//!
//! Looked at: the repository (but for what the uploaded files themselves say), journal, keys, tokens, temporary files,
//! standard output and error, metrics.

#![expect(clippy::indexing_slicing, reason = "forms of texts are cut where they are known to be long enough")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::program::Program;
use crate::scene::{files_below, wheel_bytes, wheel_name};
use crate::shell::Home;

/// Whom the load comes from.
const PEOPLE: [&str; 13] = [
    "jane.doe@people.example",
    "people.example",
    "Jane Doe",
    "janedoe-login",
    "Jane's words",
    "jane-cookie",
    "https://people.example/jane",
    "JanesBrowser/7.7",
    "jane-in-a-password",
    "jane-in-a-query",
    "jane-on-the-left",
    "jane-project",
    "janeproject",
];
const ADDRESSES: [&str; 4] =
    ["203.0.113.77", "198.51.100.99", "2001:db8:77:88:99:aa:bb:cc", "::ffff:203.0.113.77"];
/// Parts of addresses that must not be there either, and loopback, by which the load came.
const PARTS: [&str; 5] = ["203.0.113.", "198.51.100.", "2001:db8:77", "2001:0db8:0077", "127.0.0.1"];

impl Program {
    /// Header lines that say who somebody is.
    fn person(address: &str) -> String {
        format!(
            "User-Agent: JanesBrowser/7.7 (Jane Doe; jane.doe@people.example)\r\nReferer: https://people.example/jane\r\n\
             From: jane.doe@people.example\r\nCookie: id=jane-cookie\r\nX-Real-IP: {address}\r\n\
             X-Forwarded-For: jane-on-the-left, {address}\r\nForwarded: for=\"{address}\"\r\n\
             X-Country: Jane Doe\r\nX-City: jane.doe@people.example\r\n"
        )
    }

    fn get(&self, path: &str, address: &str) -> u16 {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n", Self::person(address));
        self.ask(head.as_bytes()).status
    }

    fn upload(&self, project: &str, version: &str, password: &str, address: &str) -> u16 {
        let bytes = wheel_bytes(project, version, "x = 1\n");
        let fields = [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("name", project),
            ("version", version),
            ("filetype", "bdist_wheel"),
            ("author", "Jane Doe"),
            ("author_email", "jane.doe@people.example"),
            ("maintainer_email", "Jane Doe <jane.doe@people.example>"),
            ("comment", "Jane's words"),
            ("home_page", "https://people.example/jane"),
        ];
        let part = |(name, value): (&str, &str)| {
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let mut body: Vec<u8> = fields.into_iter().flat_map(|field| part(field).into_bytes()).collect();
        let name = wheel_name(project, version);
        let head = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend([head.as_bytes(), &bytes, b"\r\n--edge--\r\n"].concat());
        let pair = STANDARD.encode(format!("janedoe-login:{password}"));
        let head = format!(
            "POST /legacy/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {pair}\r\n\
             Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}\r\n{}\r\n",
            body.len(),
            Self::person(address)
        );
        self.ask(&[head.as_bytes(), &body].concat()).status
    }
}

/// A text in the forms in which it could have been kept.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let (bytes, mut forms) = (text.as_bytes(), Vec::new());
    for shape in [text.to_owned(), text.to_lowercase(), text.to_uppercase(), text.chars().rev().collect()] {
        forms.extend([
            hex::encode(&shape).into_bytes(),
            hex::encode_upper(&shape).into_bytes(),
            shape.into_bytes(),
        ]);
    }
    // In Base64 at each of the three places in which it can begin, without the edges, which others share.
    for before in 0..3 {
        let coded = STANDARD.encode([&b"xx"[..before], bytes].concat());
        let inner = &coded.trim_end_matches('=')[if before == 0 { 0 } else { before + 1 }..];
        let inner = &inner[..inner.len() - usize::from((before + bytes.len()) % 3 != 0)];
        forms.push(inner.as_bytes().to_vec());
        forms.push(inner.replace('+', "-").replace('/', "_").into_bytes());
    }
    forms
}

/// An address as a number, both ways around.
fn packed(address: &str) -> Vec<Vec<u8>> {
    let bytes = match address.parse::<IpAddr>().unwrap().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
    };
    let backwards: Vec<u8> = bytes.iter().rev().copied().collect();
    let number =
        bytes.iter().fold(0_u64, |number, byte| number * 256 + u64::from(*byte)).to_string().into_bytes();
    let both = [bytes, backwards];
    both.iter().map(|bytes| hex::encode(bytes).into_bytes()).chain(both.clone()).chain([number]).collect()
}

fn search(written: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let texts = PEOPLE.iter().chain(&ADDRESSES).chain(&PARTS);
    let mut needles: Vec<(&str, Vec<u8>)> =
        texts.flat_map(|text| forms(text).into_iter().map(|form| (*text, form))).collect();
    needles.extend(
        ADDRESSES.iter().flat_map(|address| packed(address).into_iter().map(|form| (*address, form))),
    );
    needles.retain(|(_, form)| form.len() >= 4);
    let mut found = Vec::new();
    for (name, bytes) in written {
        let holds = |form: &[u8]| bytes.windows(form.len()).any(|window| window == form);
        found.extend(
            needles.iter().filter(|(_, form)| holds(form)).map(|(text, _)| format!("{text} in {name}")),
        );
    }
    found
}

#[test]
fn nothing_of_anyone_is_written_anywhere() {
    let home = Home::with_repository();
    let token = home.run(&["token", "create", "--tokens", "tokens.json", "--project", "alpha"]).fine();
    std::fs::create_dir(home.work().join("spool")).unwrap();
    let program = Program::start(&home, &["--address-rate", "4"]);
    let [first, second, third, _] = ADDRESSES;
    assert_eq!(program.upload("alpha", "2.0", token.trim(), first), 200);
    assert_eq!(program.upload("alpha", "2.0", token.trim(), second), 200);
    assert_eq!(program.upload("janeproject", "1.0", token.trim(), third), 403);
    for _ in 0..6 {
        program.upload("alpha", "3.0", "jane-in-a-password", third);
    }
    for path in
        ["/simple/", "/simple/alpha/", "/simple/jane-project/", "/simple/?q=jane-in-a-query", "/jane-project"]
    {
        program.get(path, first);
    }
    for _ in 0..7 {
        assert_eq!(program.get("/targets/alpha/alpha-1.0-py3-none-any.whl", second), 200);
    }
    let metrics = program.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").body;
    let url = program.url.clone();
    let mut written = files_below(&home.work());
    let printed = String::from_utf8(program.end()).unwrap();
    written.extend(files_below(&home.work()));
    written.insert("metrics".to_owned(), metrics);
    written.insert("printed".to_owned(), printed.into_bytes());
    // The load left its marks, so there was something that could have been kept.
    let names: Vec<&str> =
        written.keys().map(String::as_str).filter(|name| name.starts_with("journal/")).collect();
    for kind in ["upload-", "token-", "omitted-", "downloads-"] {
        assert!(names.iter().any(|name| name.contains(kind)), "no {kind} in {names:?}");
    }
    assert!(url.contains("127.0.0.1"), "what the program says about itself is not in `printed`");
    assert_eq!(search(&written), [""; 0]);
    // And would have been found.
    for (text, kept) in [
        ("198.51.100.99", b"\x00\xc6\x33\x64\x63\x00".to_vec()),
        ("jane-cookie", STANDARD.encode("id=jane-cookie; x").into_bytes()),
        ("Jane Doe", b"4a616e6520446f65".to_vec()),
        ("203.0.113.", b"from 203.0.113.0/24".to_vec()),
    ] {
        let found = search(&[("made".to_owned(), kept)].into());
        assert!(found.contains(&format!("{text} in made")), "{text}: {found:?}");
    }
}
