//! `ip_in` and `ip_net` as DataFusion calls them.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeListArray, Int64Array, ListArray, ListBuilder,
        StringArray, StringViewArray, StringViewBuilder,
    },
    datatypes::{DataType, Field},
};
use datafusion_common::ScalarValue;
use datafusion_expr::{ColumnarValue, ReturnFieldArgs};
use keyhawk_functions::scalar_functions;

use crate::scalar::call;

fn texts(values: &[Option<&str>]) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(values.iter().collect::<StringViewArray>()))
}

fn text(value: &str) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Utf8View(Some(value.to_owned())))
}

fn list_of(rows: &[Option<&[Option<&str>]>]) -> ListArray {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for row in rows {
        match row {
            Some(row) => builder.append_value(row.iter().copied()),
            None => builder.append_null(),
        }
    }
    builder.finish()
}

fn truths(value: ColumnarValue) -> Vec<Option<bool>> {
    match value {
        ColumnarValue::Array(array) => array.as_boolean().iter().collect(),
        ColumnarValue::Scalar(ScalarValue::Boolean(value)) => vec![value],
        ColumnarValue::Scalar(other) => panic!("not a truth: {other}"),
    }
}

fn ip_in(ips: &[Option<&str>], networks: ColumnarValue) -> Vec<Option<bool>> {
    truths(call("ip_in", vec![texts(ips), networks], ips.len()).unwrap())
}

#[test]
fn an_address_is_in_a_network_that_holds_it() {
    let ips = [
        Some("10.0.0.0"),
        Some("10.255.255.255"),
        Some("11.0.0.0"),
        Some("2001:db8::1"),
        Some("2001:db9::1"),
        Some("::ffff:10.1.2.3"),
        None,
        Some("no address"),
        Some("10.0.0.0/8"),
        Some(""),
    ];
    let found = ip_in(&ips, text("10.0.0.0/8, 2001:db8::/32"));
    let truths = [true, true, false, true, false, true].map(Some);
    assert_eq!(found[..6], truths);
    assert_eq!(found[6..], [None; 4]);
}

#[test]
fn the_edges_are_one_address_and_all_of_its_kind() {
    let ips = ["0.0.0.0", "255.255.255.255", "::", "ffff::", "192.0.2.1"].map(Some);
    let truth = |networks| {
        let found = ip_in(&ips, text(networks));
        found.into_iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(truth("0.0.0.0/0"), [true, true, false, false, true]);
    assert_eq!(truth("::/0"), [false, false, true, true, false]);
    assert_eq!(truth("0.0.0.0/0 ::/0"), [true; 5]);
    assert_eq!(truth("192.0.2.1"), [false, false, false, false, true]);
    assert_eq!(
        truth("192.0.2.1/32,::/128"),
        [false, false, true, false, true]
    );
    assert_eq!(
        truth("255.255.255.255/32"),
        [false, true, false, false, false]
    );
    assert_eq!(
        truth("::ffff:192.0.2.0/120"),
        [false, false, false, false, true]
    );
    assert_eq!(truth(" ,\n"), [false; 5], "no networks hold no address");
}

#[test]
fn networks_are_a_list_too() {
    let ips = [Some("10.1.1.1"), Some("192.0.2.1"), Some("::1"), None];
    let list = list_of(&[Some(&[Some("10.0.0.0/8"), None, Some("::1")])]);
    let expected = [Some(true), Some(false), Some(true), None];
    let scalar = ScalarValue::List(Arc::new(list.clone()));
    assert_eq!(ip_in(&ips, ColumnarValue::Scalar(scalar)), expected);
    let rows: Vec<Option<&[Option<&str>]>> = vec![
        Some(&[Some("192.0.2.0/24"), Some("10.1.0.0/16")]),
        Some(&[Some("192.0.2.0/24"), Some("10.1.0.0/16")]),
        Some(&[]),
        Some(&[Some("::/0")]),
    ];
    let column = ColumnarValue::Array(Arc::new(list_of(&rows)));
    let expected = [Some(true), Some(true), Some(false), None];
    assert_eq!(ip_in(&ips, column), expected);
    let nulls = ColumnarValue::Array(Arc::new(list_of(&[None, None, None, None])));
    assert_eq!(ip_in(&ips, nulls), [None; 4]);
    let fixed = FixedSizeListArray::new(
        Arc::new(Field::new_list_field(DataType::Utf8, true)),
        2,
        Arc::new(StringArray::from(vec!["::1", "10.0.0.0/8"])) as ArrayRef,
        None,
    );
    let scalar = ScalarValue::FixedSizeList(Arc::new(fixed));
    assert_eq!(
        ip_in(&ips, ColumnarValue::Scalar(scalar)),
        [Some(true), Some(false), Some(true), None]
    );
}

#[test]
fn networks_of_a_column_that_cannot_be_read_hold_no_address() {
    let ips = [Some("10.1.1.1"); 6];
    let networks = texts(&[
        Some("10.0.0.0/8"),
        Some("10.0.0.0/88"),
        Some("10.0.0.0/88 10.1.1.1"),
        None,
        Some("10.1.1.0/24"),
        Some("10.1.1.0/24"),
    ]);
    assert_eq!(
        ip_in(&ips, networks.clone()),
        [
            Some(true),
            Some(false),
            Some(true),
            None,
            Some(true),
            Some(true)
        ]
    );
    // One address against a column.
    let found = call("ip_in", vec![text("10.0.0.1"), networks], 6).unwrap();
    assert_eq!(truths(found)[..2], [Some(true), Some(false)]);
}

#[test]
fn null_networks_give_null_and_scalars_a_scalar() {
    let null = ColumnarValue::Scalar(ScalarValue::Utf8View(None));
    let found = call("ip_in", vec![texts(&[Some("::1")]), null], 1).unwrap();
    assert_eq!(truths(found), [None]);
    let found = call("ip_in", vec![text("::1"), text("::/8")], 9).unwrap();
    assert!(
        matches!(
            found,
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))
        ),
        "{found:?}"
    );
}

/// What planning says of a call with these literals.
fn planned(name: &str, literals: &[Option<ScalarValue>]) -> Result<DataType, String> {
    let udf = scalar_functions()
        .into_iter()
        .find(|udf| udf.name() == name)
        .unwrap();
    let fields: Vec<_> = literals
        .iter()
        .map(|literal| {
            let kind = literal
                .as_ref()
                .map_or(DataType::Utf8View, ScalarValue::data_type);
            Arc::new(Field::new("a", kind, true))
        })
        .collect();
    let literals: Vec<Option<&ScalarValue>> = literals.iter().map(Option::as_ref).collect();
    udf.return_field_from_args(ReturnFieldArgs {
        arg_fields: &fields,
        scalar_arguments: &literals,
    })
    .map(|field| field.data_type().clone())
    .map_err(|error| error.to_string())
}

#[test]
fn a_network_of_the_query_that_cannot_be_read_is_the_authors_mistake() {
    let bad = "10.0.0.0/8, 10.0.0.256";
    let says = "ip_in: `networks` must be networks or addresses, as in '10.0.0.0/8, 2001:db8::/32', \
                but here it is '10.0.0.256'";
    let error = call("ip_in", vec![texts(&[None]), text(bad)], 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains(says), "{error}");
    let error = planned("ip_in", &[None, Some(ScalarValue::from(bad))]).unwrap_err();
    assert!(error.contains(says), "{error}");
    let list = list_of(&[Some(&[Some("::1"), Some("10.0.0.256")])]);
    let list = ScalarValue::List(Arc::new(list));
    assert!(
        planned("ip_in", &[None, Some(list)])
            .unwrap_err()
            .contains(says)
    );
    let good = ScalarValue::from("10.0.0.0/8");
    assert_eq!(planned("ip_in", &[None, Some(good)]), Ok(DataType::Boolean));
    assert_eq!(planned("ip_in", &[None, None]), Ok(DataType::Boolean));
}

#[test]
fn texts_of_every_kind_are_coerced() {
    let coerce = |name: &str, types: &[DataType]| {
        let udf = scalar_functions()
            .into_iter()
            .find(|udf| udf.name() == name)
            .unwrap();
        udf.coerce_types(types).map_err(|error| error.to_string())
    };
    let view_list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)));
    for kind in [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Null,
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    ] {
        let list = DataType::LargeList(Arc::new(Field::new("x", kind.clone(), false)));
        assert_eq!(
            coerce("ip_in", &[kind.clone(), kind.clone()]).unwrap(),
            [DataType::Utf8View, DataType::Utf8View]
        );
        assert_eq!(
            coerce("ip_in", &[kind.clone(), list]).unwrap(),
            [DataType::Utf8View, view_list.clone()]
        );
        assert_eq!(
            coerce("ip_net", &[kind, DataType::UInt8, DataType::Int64]).unwrap(),
            [DataType::Utf8View, DataType::Int64, DataType::Int64]
        );
    }
    let error = coerce("ip_in", &[DataType::Int64, DataType::Utf8View]).unwrap_err();
    assert!(error.contains("`ip` must be an address as text"), "{error}");
    let error = coerce("ip_in", &[DataType::Utf8View, DataType::Int64]).unwrap_err();
    assert!(
        error.contains("`networks` must be a text or a list of texts"),
        "{error}"
    );
    let error = coerce(
        "ip_net",
        &[DataType::Utf8View, DataType::Utf8, DataType::Int64],
    );
    assert!(error.unwrap_err().contains("`v4_bits` must be an integer"));
    let error = coerce("ip_net", &[DataType::Utf8View]).unwrap_err();
    assert!(
        error.contains("write ip_net(ip, v4_bits, v6_bits)"),
        "{error}"
    );
}

fn bits(bits: i64) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Int64(Some(bits)))
}

#[test]
fn the_network_of_an_address_is_canonical_text() {
    let ips = [
        Some("203.0.113.9"),
        Some("2001:0DB8:1:2:0:0:0:3"),
        Some("::ffff:203.0.113.9"),
        None,
        Some("203.0.113.9/24"),
    ];
    let net = |v4, v6| {
        let args = vec![texts(&ips), bits(v4), bits(v6)];
        match call("ip_net", args, ips.len()).unwrap() {
            ColumnarValue::Array(array) => array
                .as_string_view()
                .iter()
                .map(|text| text.map(str::to_owned))
                .collect::<Vec<_>>(),
            ColumnarValue::Scalar(scalar) => panic!("a scalar: {scalar}"),
        }
    };
    let some = |text: &str| Some(text.to_owned());
    let v4 = some("203.0.113.0/24");
    let expected = [v4.clone(), some("2001:db8:1::/48"), v4, None, None];
    assert_eq!(net(24, 48), expected);
    let (v4, v6) = (some("203.0.113.9/32"), some("2001:db8:1:2::3/128"));
    assert_eq!(net(32, 128), [v4.clone(), v6, v4, None, None]);
    let v4 = some("0.0.0.0/0");
    assert_eq!(net(0, 0), [v4.clone(), some("::/0"), v4, None, None]);
}

#[test]
fn bits_out_of_range_are_an_error_that_names_the_range() {
    for (v4, v6, says) in [
        (
            33,
            0,
            "`v4_bits` must be a number of bits from 0 to 32, but here it is 33",
        ),
        (
            -1,
            0,
            "`v4_bits` must be a number of bits from 0 to 32, but here it is -1",
        ),
        (
            0,
            129,
            "`v6_bits` must be a number of bits from 0 to 128, but here it is 129",
        ),
    ] {
        let args = vec![texts(&[Some("::1")]), bits(v4), bits(v6)];
        let error = call("ip_net", args, 1).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        let literals = [
            None,
            Some(ScalarValue::from(v4)),
            Some(ScalarValue::from(v6)),
        ];
        assert!(planned("ip_net", &literals).unwrap_err().contains(says));
    }
    let fine = [None, Some(ScalarValue::from(24_i32)), None];
    assert_eq!(planned("ip_net", &fine), Ok(DataType::Utf8View));
    let column = ColumnarValue::Array(Arc::new(Int64Array::from(vec![None, Some(8)])));
    let args = vec![texts(&[Some("10.1.1.1"); 2]), column, bits(64)];
    match call("ip_net", args, 2).unwrap() {
        ColumnarValue::Array(array) => {
            assert!(array.is_null(0));
            assert_eq!(array.as_string_view().value(1), "10.0.0.0/8");
        }
        ColumnarValue::Scalar(scalar) => panic!("a scalar: {scalar}"),
    }
}
