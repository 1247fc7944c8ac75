use probe_rs::integration::{FakeProbe, ProbeLister};
use probe_rs::probe::{ProbeError, ProbeFactory};

use super::*;

/// What is plugged in.
#[derive(Debug)]
struct Plugged(Vec<ProbeListItem>);

#[derive(Debug)]
struct Factory;

impl std::fmt::Display for Factory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("fake")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the wire is loose")]
struct Loose;

impl ProbeError for Loose {}

impl ProbeFactory for Factory {
    fn open(
        &self,
        _: &DebugProbeSelector,
    ) -> std::result::Result<Box<dyn probe_rs::probe::DebugProbe>, DebugProbeError> {
        Err(DebugProbeError::from(Loose))
    }

    fn list_probes(&self) -> Vec<ProbeListItem> {
        vec![]
    }
}

impl ProbeLister for Plugged {
    fn open(&self, selector: &DebugProbeSelector) -> std::result::Result<Probe, DebugProbeError> {
        match selector.vendor_id {
            1 => Ok(FakeProbe::with_mocked_core().into_probe()),
            2 => Err(DebugProbeError::ProbeCouldNotBeCreated(ProbeCreationError::Usb(
                std::io::ErrorKind::PermissionDenied.into(),
            ))),
            _ => Err(DebugProbeError::from(Loose)),
        }
    }

    fn list(&self, selector: Option<&DebugProbeSelector>) -> Vec<DebugProbeInfo> {
        self.list_with_access(selector).into_iter().map(|item| item.info).collect()
    }

    fn list_with_access(&self, _: Option<&DebugProbeSelector>) -> Vec<ProbeListItem> {
        self.0.clone()
    }
}

fn item(vendor: u16, serial: &str, accessibility: Accessibility) -> ProbeListItem {
    let info = DebugProbeInfo::new("Fake", vendor, 0x204, Some(serial.into()), &Factory, None, false);
    ProbeListItem { info, accessibility }
}

fn lister(items: &[(u16, &str)]) -> Lister {
    let items = items.iter().map(|(vendor, serial)| item(*vendor, serial, Accessibility::Accessible)).collect();
    Lister::with_lister(Box::new(Plugged(items)))
}

fn choice(selector: &str) -> Choice {
    Choice { selector: (!selector.is_empty()).then(|| selector.to_owned()), ..Choice::default() }
}

fn refused(lister: &Lister, selector: &str) -> String {
    open(lister, &choice(selector), "; or --uf2").unwrap_err().to_string()
}

// The fake core cannot be asked what it is, so it is taken to be what is wanted.
fn attach(chip: &str) -> Result<Probed> {
    Probed::attach_named(FakeProbe::with_mocked_core().into_probe(), chip, false)
}

#[test]
fn no_probe_and_too_many_say_what_to_do() {
    let none = refused(&lister(&[]), "");
    assert!(none.contains("no debug probe found") && none.contains("cable") && none.ends_with("; or --uf2"), "{none}");
    let two = lister(&[(1, "A"), (1, "B")]);
    let several = refused(&two, "");
    assert!(several.contains("--probe") && several.contains("0001:0204:A (Fake), 0001:0204:B (Fake)"), "{several}");
    assert!(open(&two, &choice("0001:0204:B"), "").is_ok());
    let other = refused(&two, "0001:0204:C");
    assert!(other.starts_with("no debug probe 0001:0204:C; there are: 0001:0204:A"), "{other}");
    assert!(refused(&two, "nonsense").starts_with("no debug probe nonsense"));
}

#[test]
fn no_permission_gives_the_rule_to_install() {
    let denied = Lister::with_lister(Box::new(Plugged(vec![item(0xd28, "A", Accessibility::PermissionDenied)])));
    let rule = r#"ATTR{idVendor}=="0d28""#;
    let error = refused(&denied, "");
    assert!(
        error.contains(rule) && error.contains("/etc/udev/rules.d/") && error.contains("udevadm trigger"),
        "{error}"
    );
    // Where it shows only when it is opened.
    let error = refused(&lister(&[(2, "A")]), "");
    assert!(error.contains(r#"ATTR{idVendor}=="0002""#), "{error}");
}

#[test]
fn a_probe_that_does_not_open_points_at_the_cable() {
    let error = refused(&lister(&[(3, "A")]), "");
    assert!(error.contains("another cable") && error.contains("the wire is loose"), "{error}");
}

#[test]
fn the_fake_probe_attaches_and_its_chip_has_sectors() {
    let mut probed = attach("nRF51822_xxAA").unwrap();
    assert_eq!(probed.chip(), "nRF51822_xxAA");
    // nRF51822: 256 pages of 1 KiB (product specification 3.4, table 6).
    let all = probed.sectors(0..0x4_0000);
    assert_eq!(all.len(), 256);
    assert!(
        all.iter().enumerate().all(|(index, sector)| sector.address == index as u64 * 1024 && sector.bytes == 1024)
    );
    assert_eq!(probed.sectors(0x3ff..0x401), all[..2]);
    assert!(probed.sectors(0x2000_0000..0x2000_0010).is_empty());
    let mut word = [0xff; 4];
    probed.read(0x100, &mut word).unwrap();
    assert_eq!(word, [0; 4], "its memory is zero");
}

#[test]
fn sectors_of_several_sizes_lie_as_in_the_manual() {
    let registry = Registry::from_builtin_families();
    assert!(registry.get_target_by_name("STM32F446RETx").is_ok());
    // The fake core takes any chip's name of its architecture; the table is the chip's.
    let Ok(probed) = attach("STM32F446RETx") else { return };
    // RM0390, table 4: 4 x 16, 64, 3 x 128 KiB.
    let sizes: Vec<u64> = probed.sectors(0x0800_0000..0x0808_0000).iter().map(|sector| sector.bytes / 1024).collect();
    assert_eq!(sizes, [16, 16, 16, 16, 64, 128, 128, 128]);
}

#[test]
fn chips_that_are_unknown_have_others_like_them() {
    let wanted = Wanted { board: "microbit", chip: "nRF51822_xxZZ", instead: "" };
    let error = Probed::attach(|| unreachable!("no probe is opened"), &wanted, false).unwrap_err().to_string();
    assert!(error.contains("nRF51822_xxZZ is unknown; like it are nRF51822_xx"), "{error}");
}

#[test]
fn another_family_is_another_chip() {
    let registry = Registry::from_builtin_families();
    assert!(is_another(&registry, "nRF52840_xxAA", "STM32F446RETx"));
    assert!(is_another(&registry, "RP2040", "RP235x"));
    // What shares an identity in hardware is not told apart by it.
    assert!(!is_another(&registry, "STM32H743ZITx", "STM32H753ZITx"));
    assert!(!is_another(&registry, "what is this", "STM32H753ZITx"));
}

#[test]
fn what_probe_rs_says_becomes_what_to_do() {
    let text = |error: probe_rs::Error| cause("attaching", &error).to_string();
    assert!(text(probe_rs::Error::MissingPermissions("erase_all".into())).contains("--erase-locked"));
    assert!(text(probe_rs::Error::Arm(ArmError::MissingPermissions("x".into()))).contains("locked"));
    assert!(text(probe_rs::Error::Probe(DebugProbeError::TargetNotFound)).contains("powered"));
    let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert!(text(probe_rs::Error::Probe(DebugProbeError::Usb(gone))).contains("cable"));
    assert!(text(probe_rs::Error::Timeout).contains("does not answer"));
    let other = text(probe_rs::Error::Other("bang".into()));
    assert!(other.starts_with("attaching failed: bang"), "{other}");
}

#[test]
fn flash_that_cannot_be_written_is_an_error_and_no_panic() {
    // The fake core runs no flash algorithm.
    let mut probed = attach("nRF51822_xxAA").unwrap();
    let sector = probed.sectors(0..1)[0];
    assert!(matches!(probed.erase(&[sector]), Err(Error::Device { doing: "erasing flash", .. })));
    assert!(matches!(probed.program(&[(0, &[1, 2, 3, 4])]), Err(Error::Device { doing: "writing flash", .. })));
}

#[test]
fn a_chip_without_rtt_says_so_and_is_not_written_to() {
    // All memory of the fake core is zero, and it panics where bytes are written to it.
    for place in [Place::At(0x2000_0100), Place::Ram] {
        let error = attach("nRF51822_xxAA").unwrap().link(place).unwrap_err();
        assert!(matches!(error, Error::NoRtt), "{error}");
    }
    let mut probed = attach("nRF51822_xxAA").unwrap();
    assert!(probed.hear().unwrap().is_empty());
    probed.say(b"nobody hears it").unwrap();
    assert_eq!(probed.line(), "RTT");
}

#[test]
fn the_fake_cores_memory_is_read_as_a_chips() {
    let mut probed = attach("nRF51822_xxAA").unwrap();
    let mut ram = ram(&mut probed.session, "looking").unwrap();
    // nRF51822 xxAA: 16 KiB of RAM (product specification 3.4, table 5).
    assert_eq!(ram.ram().first(), Some(&(0x2000_0000..0x2000_4000)));
    let (mut bytes, mut words) = ([0xff; 7], [u32::MAX; 3]);
    ram.read(0x2000_0001, &mut bytes).unwrap();
    ram.read_words(0x2000_0004, &mut words).unwrap();
    assert_eq!((bytes, words), ([0; 7], [0; 3]));
    ram.write_word(0x2000_0100, 0).unwrap();
}

#[test]
fn an_image_without_rtt_is_not_listened_to() {
    let mut probed = attach("nRF51822_xxAA").unwrap();
    assert!(matches!(probed.listen_to(b"no image"), Err(Error::Image { .. })));
    // This test's own executable has no RTT.
    probed.listen_to(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
    assert!(probed.hear().unwrap().is_empty());
    assert!(probed.line().contains("no symbol _SEGGER_RTT"));
}
