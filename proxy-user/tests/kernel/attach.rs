//! Links: attaching, adopting, refusing, detaching.

use proxy_user::kernel::adopt::{How, bring_up};
use proxy_user::kernel::attach::{AttachError, Interface, Mode, Policy};
use proxy_user::kernel::bpffs::PinDir;
use proxy_user::kernel::{links, xdp_state};

use crate::support::{interface, ip, load, sandbox};

#[test]
fn a_link_outlives_the_loader_and_is_adopted() {
    sandbox(|sandbox| {
        let (pins, mut loaded, _maps) = sandbox.loaded();
        let veth = sandbox.veth("wan0");
        assert_eq!(xdp_state::read(veth.ifindex).unwrap(), None);
        let first = bring_up(&pins, &mut loaded, &veth, Policy::NativeOnly).unwrap();
        assert_eq!((first.how, first.mode, first.slot), (How::Attached, Mode::Native, 0));
        drop(loaded);
        let state = xdp_state::read(veth.ifindex).unwrap().unwrap();
        assert_eq!((state.mode, state.program_id), (Mode::Native, first.program_id));

        let mut loaded = load(&pins, 0);
        let second = bring_up(&pins, &mut loaded, &veth, Policy::NativeOnly).unwrap();
        assert_eq!(second.how, How::Adopted);
        assert_ne!(second.program_id, first.program_id);
        assert_eq!(xdp_state::read(veth.ifindex).unwrap().unwrap().program_id, second.program_id);
        let listed = links::list(&pins).unwrap();
        assert_eq!(listed.len(), 1);
        assert!(listed[0].alive && listed[0].name == "wan0" && listed[0].program_id == second.program_id);
    });
}

#[test]
fn a_renamed_interface_is_adopted_under_its_new_name() {
    sandbox(|sandbox| {
        let (pins, mut loaded, _maps) = sandbox.loaded();
        let veth = sandbox.veth("wan0");
        bring_up(&pins, &mut loaded, &veth, Policy::NativeOnly).unwrap();
        ip("link set wan0 name wan0.7");
        let mut loaded = load(&pins, 0);
        let renamed = bring_up(&pins, &mut loaded, &interface("wan0.7"), Policy::NativeOnly).unwrap();
        assert_eq!(renamed.how, How::Adopted);
        assert_eq!(links::list(&pins).unwrap()[0].name, "wan0.7");
    });
}

#[test]
fn a_dead_link_is_replaced() {
    sandbox(|sandbox| {
        let (pins, mut loaded, _maps) = sandbox.loaded();
        let veth = sandbox.veth("wan0");
        bring_up(&pins, &mut loaded, &veth, Policy::NativeOnly).unwrap();
        ip("link del wan0");
        assert!(!links::list(&pins).unwrap()[0].alive);
        let gone = bring_up(&pins, &mut load(&pins, 0), &veth, Policy::NativeOnly);
        assert!(matches!(gone, Err(AttachError::NoInterface { .. })), "{gone:?}");

        let veth = sandbox.veth("wan0");
        let listed = links::list(&pins).unwrap();
        let (slot, _new) = links::slot_for(&listed, veth.ifindex, "wan0", &[]).unwrap();
        assert_eq!(slot, 0);
        let again = bring_up(&pins, &mut load(&pins, slot), &veth, Policy::NativeOnly).unwrap();
        assert_eq!(again.mode, Mode::Native);
        let listed = links::list(&pins).unwrap();
        assert!(listed.len() == 1 && listed[0].alive && listed[0].ifindex == veth.ifindex, "{listed:?}");
    });
}

#[test]
fn a_foreign_program_is_named_and_stays() {
    sandbox(|sandbox| {
        let (pins, mut loaded, _maps) = sandbox.loaded();
        let others = PinDir::prepare(&sandbox.dir.join("others")).unwrap();
        let mut other = load(&others, 0);
        let veth = sandbox.veth("wan0");
        let id = bring_up(&others, &mut other, &veth, Policy::NativeOnly).unwrap().program_id;
        for policy in [Policy::NativeOnly, Policy::GenericAllowed] {
            let error = bring_up(&pins, &mut loaded, &veth, policy).unwrap_err();
            assert!(matches!(error, AttachError::Foreign { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("id {id} named `weir`, native mode")), "{text}");
        }
        assert_eq!(xdp_state::read(veth.ifindex).unwrap().unwrap().program_id, id);

        // In generic mode the kernel says another number.
        let lo = interface("lo");
        let id = bring_up(&others, &mut load(&others, 1), &lo, Policy::GenericAllowed).unwrap().program_id;
        let text = bring_up(&pins, &mut loaded, &lo, Policy::GenericAllowed).unwrap_err().to_string();
        assert!(text.contains(&format!("id {id} named `weir`, generic mode")), "{text}");
        assert!(links::list(&pins).unwrap().is_empty());
    });
}

#[test]
fn generic_mode_only_where_allowed() {
    sandbox(|sandbox| {
        let (pins, mut loaded, _maps) = sandbox.loaded();
        let lo = interface("lo");
        let error = bring_up(&pins, &mut loaded, &lo, Policy::NativeOnly).unwrap_err();
        assert!(matches!(error, AttachError::NoNativeMode { .. }), "{error}");
        let attached = bring_up(&pins, &mut loaded, &lo, Policy::GenericAllowed).unwrap();
        assert_eq!(attached.mode, Mode::Generic);

        let mut newer = load(&pins, 0);
        let error = bring_up(&pins, &mut newer, &lo, Policy::NativeOnly).unwrap_err();
        assert!(matches!(error, AttachError::GenericInForce { .. }), "{error}");
        assert_eq!(xdp_state::read(lo.ifindex).unwrap().unwrap().program_id, attached.program_id);
        let adopted = bring_up(&pins, &mut newer, &lo, Policy::GenericAllowed).unwrap();
        assert_eq!((adopted.how, adopted.mode), (How::Adopted, Mode::Generic));
    });
}

#[test]
fn jumbo_frames_need_the_frags_variant() {
    sandbox(|sandbox| {
        let (pins, mut loaded, _maps) = sandbox.loaded();
        let veth = sandbox.veth("wan0");
        ip("link set wan0 mtu 9000");
        ip("link set wan0-peer mtu 9000");
        let attached = bring_up(&pins, &mut loaded, &veth, Policy::NativeOnly);
        if loaded.frags() {
            assert_eq!(attached.unwrap().mode, Mode::Native);
        } else {
            assert!(matches!(attached, Err(AttachError::MtuTooLarge { .. })), "{attached:?}");
        }
    });
}

#[test]
fn detaching_leaves_nothing() {
    sandbox(|sandbox| {
        let (pins, mut loaded, maps) = sandbox.loaded();
        let (one, two) = (sandbox.veth("wan0"), sandbox.veth("lan0"));
        bring_up(&pins, &mut loaded, &one, Policy::NativeOnly).unwrap();
        bring_up(&pins, &mut load(&pins, 1), &two, Policy::NativeOnly).unwrap();
        drop((loaded, maps));
        let listed = links::list(&pins).unwrap();
        assert_eq!(listed.iter().map(|link| link.slot).collect::<Vec<_>>(), [0, 1]);
        links::detach(&pins, &listed[1]).unwrap();
        assert_eq!(xdp_state::read(two.ifindex).unwrap(), None);

        let path = pins.path().to_owned();
        aya::maps::HashMap::<aya::maps::MapData, u32, u32>::create(1, 0)
            .and_then(|map| {
                map.pin(pins.pin("weir_from_a_later_version")).map_err(|_| aya::maps::MapError::KeyNotFound)
            })
            .unwrap();
        assert_eq!(links::detach_all(pins).unwrap(), ["wan0"]);
        assert_eq!(xdp_state::read(one.ifindex).unwrap(), None);
        assert!(!path.exists());
    });
}

#[test]
fn an_interface_that_is_not_there() {
    sandbox(|sandbox| {
        let (pins, mut loaded, _maps) = sandbox.loaded();
        let nowhere = Interface { ifindex: 4_242, name: "nowhere".into() };
        let error = bring_up(&pins, &mut loaded, &nowhere, Policy::NativeOnly).unwrap_err();
        assert!(matches!(error, AttachError::NoInterface { .. }), "{error}");
    });
}
