//! Loading on fresh, on known and on strange maps.

use aya::maps::{Array, Map, MapData};
use proxy_common::{ConfigValue, SCHEMA_MAGIC, SchemaValue};
use proxy_user::kernel::bpffs::PinDir;
use proxy_user::kernel::load::{self, LoadError};
use proxy_user::kernel::maps::Maps;
use proxy_user::kernel::schema::{self, Capacity, Pinned, SchemaError};
use proxy_user::kernel::{read, write};
use proxy_user::plan::Step;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::support::{SMALL, load, sandbox};

fn schema_map(pins: &PinDir) -> Array<MapData, SchemaValue> {
    let map = Map::from_map_data(MapData::from_pin(pins.pin("weir_schema")).unwrap()).unwrap();
    Array::try_from(map).unwrap()
}

fn failure(pins: &PinDir, capacity: &Capacity) -> LoadError {
    load::load(load::OBJECT, pins, capacity, 0).err().unwrap()
}

#[test]
fn maps_are_made_as_specified_and_used_again() {
    sandbox(|sandbox| {
        let pins = sandbox.pins();
        assert_eq!(schema::check(&pins, &SMALL).unwrap(), Pinned::Nothing);
        assert!(Maps::open(&pins).err().unwrap().to_string().contains("weir_schema"));
        let first = load(&pins, 0);
        assert_eq!(schema::check(&pins, &SMALL).unwrap(), Pinned::Whole);
        assert_eq!(pins.names().unwrap().len(), schema::specs(&SMALL).len());
        let config = ConfigValue { generation: 77, ..ConfigValue::default() };
        write::apply(&mut Maps::open(&pins).unwrap(), &[Step::SetConfig { value: config }]).unwrap();

        let second = load(&pins, 1);
        assert_ne!(first.program_id().unwrap(), second.program_id().unwrap());
        assert_eq!((first.slot(), second.slot()), (0, 1));
        drop((first, second));
        assert_eq!(read::config(&Maps::open(&pins).unwrap()).unwrap().generation, 77);
    });
}

#[test]
fn another_capacity_is_refused_with_both_values_and_the_cure() {
    sandbox(|sandbox| {
        let (pins, _loaded, _maps) = sandbox.loaded();
        let error = failure(&pins, &Capacity { flows: 8_192, ..SMALL }).to_string();
        for part in ["weir_flows", "capacity", "4096", "8192", "weir detach"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    });
}

#[test]
fn another_shape_is_refused() {
    sandbox(|sandbox| {
        let (pins, _loaded, _maps) = sandbox.loaded();
        pins.remove("weir_snat").unwrap();
        let missing = failure(&pins, &SMALL);
        assert!(
            matches!(missing, LoadError::Schema(SchemaError::Missing { map: "weir_snat", .. })),
            "{missing}"
        );
        let strange = aya::maps::HashMap::<MapData, u32, u64>::create(4, 0).unwrap();
        strange.pin(pins.pin("weir_snat")).unwrap();
        let error = failure(&pins, &SMALL);
        assert!(
            matches!(
                error,
                LoadError::Schema(SchemaError::Differs { map: "weir_snat", property: "type", .. })
            ),
            "{error}"
        );
    });
}

#[test]
fn another_version_is_refused_and_an_unfinished_set_is_made_anew() {
    sandbox(|sandbox| {
        let (pins, _loaded, mut maps) = sandbox.loaded();
        let newer = SchemaValue { magic: SCHEMA_MAGIC, version: 999 };
        schema_map(&pins).set(0, newer, 0).unwrap();
        let error = failure(&pins, &SMALL);
        assert!(matches!(error, LoadError::Schema(SchemaError::Version { .. })), "{error}");
        assert!(error.to_string().contains("999"));
        assert!(Maps::open(&pins).is_err());

        let config = ConfigValue { generation: 77, ..ConfigValue::default() };
        write::apply(&mut maps, &[Step::SetConfig { value: config }]).unwrap();
        schema_map(&pins).set(0, SchemaValue::default(), 0).unwrap();
        pins.remove("weir_rings").unwrap();
        let _loaded = load(&pins, 0);
        assert_eq!(read::config(&Maps::open(&pins).unwrap()).unwrap().generation, 0, "a new map");
    });
}

#[test]
fn a_broken_object_is_refused() {
    sandbox(|sandbox| {
        let pins = sandbox.pins();
        let error = load::load(&[0; 64], &pins, &SMALL, 0).err().unwrap();
        assert!(matches!(error, LoadError::Object(_)), "{error}");
        let _loaded = load(&pins, 0);
    });
}

#[test]
fn a_missing_capability_is_named() {
    sandbox(|sandbox| {
        let pins = sandbox.pins();
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::SYS_ADMIN | CapabilitySet::BPF;
        set_capabilities(None, sets).unwrap();
        let error = failure(&pins, &SMALL);
        sets.effective |= CapabilitySet::SYS_ADMIN | CapabilitySet::BPF;
        set_capabilities(None, sets).unwrap();
        assert!(error.to_string().contains("CAP_BPF"), "{error}");

        sets.effective -= CapabilitySet::SYS_ADMIN | CapabilitySet::PERFMON;
        set_capabilities(None, sets).unwrap();
        let error = failure(&pins, &SMALL);
        assert!(error.to_string().contains("CAP_PERFMON"), "{error}");
    });
}
