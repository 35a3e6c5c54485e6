//! `ip_in(ip, networks)`: is an address in one of these networks?
//!
//! | `networks` | example |
//! |---|---|
//! | a network, or one address | `'10.0.0.0/8'`, `'2001:db8::1'` |
//! | several, parted by commas or spaces | `'10.0.0.0/8, 172.16.0.0/12, fc00::/7'` |
//! | a list of such texts | `['10.0.0.0/8', 'fc00::/7']` |
//!
//! True or false; null where the address or the networks are null, and where the text is no address.
//! No networks hold no address. IPv4-mapped IPv6 addresses are IPv4.
//!
//! Networks that stand in the query are read once a batch, and one that cannot be read is the author's
//! mistake: the query is refused. In a column they are read whenever the text changes from one row to
//! the next, and what cannot be read holds no address.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, StringViewArray},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion_common::ScalarValue;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::{
    Error, Result,
    arguments::{column, over_arrays},
    ip::{Network, NetworkSet, address},
};

const NAME: &str = "ip_in";
const USAGE: &str = "ip_in(ip, networks)";

pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let signature = Signature::user_defined(Volatility::Immutable);
    vec![Arc::new(ScalarUDF::from(IpIn { signature }))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IpIn {
    signature: Signature,
}

fn count_error(found: usize) -> Error {
    Error::ArgumentCount {
        function: NAME,
        usage: USAGE,
        found,
    }
}

fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Dictionary(_, inner) => is_text(inner),
        other => other.is_string() || other.is_null(),
    }
}

fn is_list(found: &DataType) -> bool {
    match found {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => is_text(item.data_type()),
        _ => false,
    }
}

fn list_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)))
}

/// The type that an address argument is cast to.
pub(crate) fn coerce_address(function: &'static str, found: &DataType) -> Result<DataType> {
    if is_text(found) {
        return Ok(DataType::Utf8View);
    }
    Err(Error::Argument {
        function,
        argument: "ip",
        expected: "an address as text",
        found: format!("of type {found}"),
    })
}

impl ScalarUDFImpl for IpIn {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        let [ip, networks] = arg_types else {
            return Err(count_error(arg_types.len()).into());
        };
        let networks = match networks {
            text if is_text(text) => DataType::Utf8View,
            list if is_list(list) => list_type(),
            other => {
                return Err(Error::Argument {
                    function: NAME,
                    argument: "networks",
                    expected: "a text or a list of texts",
                    found: format!("of type {other}"),
                }
                .into());
            }
        };
        Ok(vec![coerce_address(NAME, ip)?, networks])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(DataType::Boolean)
    }

    /// The planner shows the literals here: a mistake in them is one of the query.
    fn return_field_from_args(
        &self,
        args: ReturnFieldArgs<'_>,
    ) -> datafusion_common::Result<FieldRef> {
        if let [_, Some(networks)] = args.scalar_arguments {
            literal(networks)?;
        }
        Ok(Arc::new(Field::new(NAME, DataType::Boolean, true)))
    }

    fn invoke_with_args(
        &self,
        args: ScalarFunctionArgs,
    ) -> datafusion_common::Result<ColumnarValue> {
        let [ip, networks] = args.args.as_slice() else {
            return Err(count_error(args.args.len()).into());
        };
        if let ColumnarValue::Scalar(networks) = networks {
            let Some(networks) = literal(networks)? else {
                return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
            };
            return over_arrays(std::slice::from_ref(ip), |arrays| {
                let ip = column(arrays, 0, &DataType::Utf8View)?;
                let is_in = |ip: Option<&str>| Some(networks.contains(address(ip?)?));
                let is_in: BooleanArray = ip.as_string_view().iter().map(is_in).collect();
                Ok(Arc::new(is_in))
            });
        }
        over_arrays(&args.args, |arrays| {
            let ip = column(arrays, 0, &DataType::Utf8View)?;
            by_row(ip.as_string_view(), &arrays[1])
        })
    }
}

/// The networks of a literal; `None` for null.
fn literal(networks: &ScalarValue) -> Result<Option<NetworkSet>> {
    if networks.is_null() {
        return Ok(None);
    }
    let array = networks.to_array()?;
    let texts = if is_list(array.data_type()) {
        column(&[array], 0, &list_type())?.as_list::<i32>().value(0)
    } else {
        column(&[array], 0, &DataType::Utf8View)?
    };
    let mut networks = Vec::new();
    for text in texts.as_string_view().iter().flatten().flat_map(split) {
        networks.push(Network::parse(text).ok_or_else(|| Error::Argument {
            function: NAME,
            argument: "networks",
            expected: "networks or addresses, as in '10.0.0.0/8, 2001:db8::/32'",
            found: format!("'{text}'"),
        })?);
    }
    Ok(Some(NetworkSet::new(networks)))
}

fn split(networks: &str) -> impl Iterator<Item = &str> {
    let parts = networks.split(|c: char| c == ',' || c.is_whitespace());
    parts.filter(|part| !part.is_empty())
}

/// Networks from a column, read again only where they differ from those of the row before.
fn by_row(ips: &StringViewArray, networks: &ArrayRef) -> Result<ArrayRef> {
    let lists = match is_list(networks.data_type()) {
        true => Some(column(std::slice::from_ref(networks), 0, &list_type())?),
        false => None,
    };
    let texts = match lists {
        Some(_) => None,
        None => Some(column(
            std::slice::from_ref(networks),
            0,
            &DataType::Utf8View,
        )?),
    };
    let mut last = String::new();
    let mut set = NetworkSet::default();
    let mut joined = String::new();
    let mut is_in = |row: usize| {
        if networks.is_null(row) || ips.is_null(row) {
            return None;
        }
        let ip = address(ips.value(row))?;
        let text = match (&lists, &texts) {
            (Some(lists), _) => {
                joined.clear();
                let list = lists.as_list::<i32>().value(row);
                for text in list.as_string_view().iter().flatten() {
                    joined.push_str(text);
                    joined.push(',');
                }
                joined.as_str()
            }
            (None, Some(texts)) => texts.as_string_view().value(row),
            (None, None) => return None,
        };
        if text != last {
            set = NetworkSet::new(split(text).filter_map(Network::parse));
            last.clear();
            last.push_str(text);
        }
        Some(set.contains(ip))
    };
    let is_in: BooleanArray = (0..ips.len()).map(&mut is_in).collect();
    Ok(Arc::new(is_in))
}
