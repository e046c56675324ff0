//! Finds libdpdk, compiles the shim, generates the declarations; says what to install when it
//! cannot.

use std::env;
use std::path::Path;
use std::process::{Command, exit};

/// The oldest libdpdk whose structures and functions the wrapper was written for.
const VERSION_MIN: &str = "22.11";

/// What `fastpath/src/port/dpdk` calls, and nothing else.
const FUNCTIONS: &[&str] = &[
    "rte_eal_init",
    "rte_eal_cleanup",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_pktmbuf_pool_create",
    "rte_pktmbuf_free_bulk",
    "rte_mempool_free",
    "rte_mempool_in_use_count",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_rx_queue_setup",
    "rte_eth_tx_queue_setup",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_dev_get_mtu",
    "rte_eth_promiscuous_enable",
    "rte_eth_macaddr_get",
    "rte_eth_link_get_nowait",
    "rte_eth_stats_get",
    "shim_.*",
];

/// Types of a signature are found through it; these are named by the wrapper itself.
const TYPES: &[&str] =
    &["rte_mbuf", "rte_eth_conf", "rte_eth_stats", "rte_eth_link", "rte_ether_addr"];

const CONSTANTS: &[&str] =
    &["RTE_PKTMBUF_HEADROOM", "RTE_ETH_LINK_UP", "rte_eth_rx_mq_mode_RTE_ETH_MQ_RX_RSS", "SHIM_.*"];

/// Packed structures with aligned members, which Rust cannot express. We never look into one.
const OPAQUE: &[&str] = &["rte_arp.*", "rte_l2tpv2.*", "rte_gtp_psc.*", "rte_ipv4_hdr"];

/// The libraries those functions are in. Drivers are plugins that EAL loads at run time.
const LIBRARIES: &[&str] = &["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_eal"];

fn main() {
    for file in ["build.rs", "src/shim.h", "src/shim.c"] {
        println!("cargo:rerun-if-changed={file}");
    }
    for variable in
        ["PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "LIBCLANG_PATH"]
    {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let flags = libdpdk_flags();
    if let Err(error) = clang_sys::load() {
        fail(&format!("libclang, which generates the declarations, was not found ({error})"));
    }
    compile_shim(&flags);
    generate(&flags);
    for directory in pkg_config(&["--libs-only-L", "libdpdk"]).unwrap_or_default() {
        println!("cargo:rustc-link-search=native={}", directory.trim_start_matches("-L"));
    }
    for library in LIBRARIES {
        println!("cargo:rustc-link-lib={library}");
    }
}

/// The C flags of libdpdk, once it is certain that there is one and that it is new enough.
fn libdpdk_flags() -> Vec<String> {
    if Command::new("pkg-config").arg("--version").output().is_err() {
        fail("pkg-config, which knows where libdpdk is, was not found");
    }
    let Some(version) = pkg_config(&["--modversion", "libdpdk"]) else {
        fail("libdpdk was not found (pkg-config knows no libdpdk.pc)");
    };
    if pkg_config(&[&format!("--atleast-version={VERSION_MIN}"), "libdpdk"]).is_none() {
        fail(&format!(
            "libdpdk {} is too old: {VERSION_MIN} or later is needed",
            version.join(" ")
        ));
    }
    pkg_config(&["--cflags", "libdpdk"]).unwrap_or_default()
}

/// The words pkg-config prints, or `None` when it says no.
fn pkg_config(arguments: &[&str]) -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(arguments).output().ok()?;
    let words = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| words.split_whitespace().map(str::to_owned).collect())
}

fn compile_shim(flags: &[String]) {
    let mut build = cc::Build::new();
    build.file("src/shim.c").warnings(false).opt_level(2);
    for flag in flags {
        build.flag(flag);
    }
    if let Err(error) = build.try_compile("fermata_dpdk_shim") {
        fail(&format!("the C shim does not compile ({error})"));
    }
}

fn generate(flags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .allowlist_recursively(true)
        .generate_comments(false)
        .derive_debug(false);
    builder = FUNCTIONS.iter().fold(builder, |b, name| b.allowlist_function(name));
    builder = TYPES.iter().fold(builder, |b, name| b.allowlist_type(name));
    builder = CONSTANTS.iter().fold(builder, |b, name| b.allowlist_var(name));
    builder = OPAQUE.iter().fold(builder, |b, name| b.opaque_type(name));
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(error) => fail(&format!("bindgen cannot read the headers of libdpdk ({error})")),
    };
    let directory = env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    bindings
        .write_to_file(Path::new(&directory).join("dpdk.rs"))
        .expect("OUT_DIR is writable: cargo made it");
}

/// Ends the build with what is missing and the packages that have it.
fn fail(what: &str) -> ! {
    eprintln!();
    eprintln!("dpdk-sys cannot be built: {what}.");
    eprintln!("On Debian 12:  apt-get install libdpdk-dev libclang-dev pkg-config gcc libc6-dev");
    eprintln!(
        "or run scripts/setup. Without DPDK, build the rest: cargo build (no --features dpdk)."
    );
    eprintln!();
    exit(1);
}
