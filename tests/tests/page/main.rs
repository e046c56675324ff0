//! The HTML report in a real browser: it loads alone and in silence, its charts have names, it fits a
//! phone, and its text can be read in light, in dark and on paper. Skips where there is no Chromium.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod browser;
mod dashboard;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use browser::Browser;
use control::report::{Assessment, html};
use fastpath::policy::snapshot::Policy;
use tests::play;
use tests::scenario::Scenario;

/// The least contrast of text that WCAG 2.2 calls readable (1.4.3, level AA).
const CONTRAST_MIN: f64 = 4.5;

/// Opens what is folded, and gives each element that has text of its own with its box and contrast.
const TEXTS: &str = include_str!("texts.js");

/// An open page of a report with every kind of waste, and its folder's name; none without a browser.
fn open(name: &str) -> Option<(Browser, PathBuf)> {
    let folder = std::env::temp_dir().join(format!("fermata-page-{name}-{}", std::process::id()));
    let Some(browser) = Browser::start(folder.clone()) else {
        eprintln!("skipped: no chromium in PATH (scripts/setup installs it)");
        return None;
    };
    let page = folder.join("report.html");
    static REPORT: OnceLock<String> = OnceLock::new();
    std::fs::write(&page, REPORT.get_or_init(report)).unwrap();
    Some((browser, page))
}

/// The report over all scenarios, as if they were one capture.
fn report() -> String {
    let mut assessment = Assessment::new(&Policy::catalogue().unwrap());
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(scenarios)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("scenario.txt"))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    for path in files {
        let scenario = Scenario::read(&std::fs::read_to_string(path).unwrap()).unwrap();
        let told = play::frames(scenario.arrivals()).told;
        told.exchanges.iter().for_each(|exchange| assessment.add(exchange));
        told.events.iter().for_each(|event| assessment.add_event(event));
    }
    html::page(&assessment.finish(&[], 1))
}

#[test]
fn the_page_loads_alone_and_in_silence() {
    let Some((mut browser, page)) = open("alone") else { return };
    browser.open(&page, 1280, "light", "screen");
    let asked = |event: &&serde_json::Value| event["method"] == "Network.requestWillBeSent";
    let urls: Vec<&serde_json::Value> = browser
        .events
        .iter()
        .filter(asked)
        .map(|event| &event["params"]["request"]["url"])
        .collect();
    assert_eq!(urls, [&serde_json::json!(format!("file://{}", page.display()))]);
    let complaints = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
    let complains = |event: &&serde_json::Value| complaints.iter().any(|m| event["method"] == *m);
    let said: Vec<&serde_json::Value> = browser.events.iter().filter(complains).collect();
    assert!(said.is_empty(), "{said:#?}");
}

#[test]
fn every_chart_has_a_name_for_those_who_do_not_see_it() {
    let Some((mut browser, page)) = open("names") else { return };
    browser.open(&page, 1280, "light", "screen");
    let charts = browser.value("document.querySelectorAll('svg.chart').length");
    let tree = browser.call("Accessibility.getFullAXTree", &serde_json::json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let images: Vec<&serde_json::Value> =
        nodes.iter().filter(|node| node["role"]["value"] == "image").collect();
    assert!(images.len() >= 5 && charts == images.len(), "{} images", images.len());
    for image in images {
        let words = |field: &str| image[field]["value"].as_str().unwrap_or("").to_owned();
        assert!(!words("name").is_empty() && !words("description").is_empty(), "{image}");
    }
}

#[test]
fn the_page_fits_a_phone_and_no_text_leaves_its_place() {
    let Some((mut browser, page)) = open("phone") else { return };
    for width in [390, 600, 800, 1280] {
        browser.open(&page, width, "light", "screen");
        let texts = browser.value(TEXTS);
        let wide = browser.value("document.documentElement.scrollWidth");
        assert!(
            wide.as_u64() <= Some(width.into()),
            "{width} columns of pixels, and the page takes {wide}"
        );
        for text in texts.as_array().unwrap() {
            assert!(text["overflows"] == false, "{width} columns of pixels: {text}");
        }
        let lines = "[...document.querySelectorAll('.tile-figure')].map(e => \
                     Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)))";
        for lines in browser.value(lines).as_array().unwrap() {
            assert_eq!(*lines, 1, "a figure is broken");
        }
    }
}

#[test]
fn nothing_is_cut_off_on_paper() {
    let Some((mut browser, page)) = open("paper") else { return };
    // A4 within margins of 1 cm.
    browser.open(&page, 718, "light", "print");
    browser.value(TEXTS);
    let cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)\
               .map(e => e.parentElement.textContent.slice(0, 80))";
    assert_eq!(browser.value(cut), serde_json::json!([]));
}

#[test]
fn text_has_contrast_in_light_in_dark_and_on_paper() {
    let Some((mut browser, page)) = open("contrast") else { return };
    for (scheme, media) in [("light", "screen"), ("dark", "screen"), ("dark", "print")] {
        browser.open(&page, 1280, scheme, media);
        let texts = browser.value(TEXTS);
        let texts = texts.as_array().unwrap();
        assert!(texts.len() > 100, "{} texts", texts.len());
        for text in texts {
            let contrast = text["contrast"].as_f64().unwrap();
            assert!(contrast >= CONTRAST_MIN, "{scheme}, {media}: {text}");
        }
    }
}
