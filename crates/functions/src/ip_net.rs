//! `ip_net(ip, v4_bits, v6_bits)`: the network of an address, as text.
//!
//! ```text
//!   ip_net('203.0.113.9', 24, 48)     203.0.113.0/24
//!   ip_net('2001:db8:1:2::3', 24, 48)  2001:db8:1::/48
//! ```
//!
//! The text is canonical (RFC 5952), so that equal networks are equal texts. IPv4-mapped IPv6 addresses
//! are IPv4. Null where an argument is null or the text is no address. Numbers of bits outside 0 to 32
//! and 0 to 128 are an error.

use std::{fmt::Write, sync::Arc};

use arrow::{
    array::{Array, AsArray, StringViewBuilder},
    datatypes::{DataType, Field, FieldRef, Int64Type},
};
use datafusion_common::ScalarValue;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::{
    Error, Result,
    arguments::{column, over_arrays},
    ip::{Network, address},
    ip_in::coerce_address,
};

const NAME: &str = "ip_net";
const USAGE: &str = "ip_net(ip, v4_bits, v6_bits)";

pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let signature = Signature::user_defined(Volatility::Immutable);
    vec![Arc::new(ScalarUDF::from(IpNet { signature }))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IpNet {
    signature: Signature,
}

/// Which argument, and how many bits it can have.
const V4: (&str, u8) = ("v4_bits", 32);
const V6: (&str, u8) = ("v6_bits", 128);

fn in_range((argument, width): (&'static str, u8), bits: i64) -> Result<u8> {
    match u8::try_from(bits) {
        Ok(bits) if bits <= width => Ok(bits),
        _ => Err(Error::Argument {
            function: NAME,
            argument,
            expected: match width {
                32 => "a number of bits from 0 to 32",
                _ => "a number of bits from 0 to 128",
            },
            found: bits.to_string(),
        }),
    }
}

impl ScalarUDFImpl for IpNet {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        let [ip, v4, v6] = arg_types else {
            return Err(Error::ArgumentCount {
                function: NAME,
                usage: USAGE,
                found: arg_types.len(),
            }
            .into());
        };
        for ((argument, _), found) in [(V4, v4), (V6, v6)] {
            if !found.is_integer() && !found.is_null() {
                return Err(Error::Argument {
                    function: NAME,
                    argument,
                    expected: "an integer",
                    found: format!("of type {found}"),
                }
                .into());
            }
        }
        let ip = coerce_address(NAME, ip)?;
        Ok(vec![ip, DataType::Int64, DataType::Int64])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(DataType::Utf8View)
    }

    /// The planner shows the literals here: a mistake in them is one of the query.
    fn return_field_from_args(
        &self,
        args: ReturnFieldArgs<'_>,
    ) -> datafusion_common::Result<FieldRef> {
        if let [_, v4, v6] = args.scalar_arguments {
            for (argument, literal) in [(V4, v4), (V6, v6)] {
                let Some(literal) = literal else { continue };
                if let ScalarValue::Int64(Some(bits)) = literal.cast_to(&DataType::Int64)? {
                    in_range(argument, bits)?;
                }
            }
        }
        Ok(Arc::new(Field::new(NAME, DataType::Utf8View, true)))
    }

    fn invoke_with_args(
        &self,
        args: ScalarFunctionArgs,
    ) -> datafusion_common::Result<ColumnarValue> {
        over_arrays(&args.args, |arrays| {
            let [ip, v4, v6] = [
                column(arrays, 0, &DataType::Utf8View)?,
                column(arrays, 1, &DataType::Int64)?,
                column(arrays, 2, &DataType::Int64)?,
            ];
            let (ips, v4, v6) = (
                ip.as_string_view(),
                v4.as_primitive::<Int64Type>(),
                v6.as_primitive::<Int64Type>(),
            );
            let mut out = StringViewBuilder::with_capacity(ips.len());
            let mut text = String::new();
            for row in 0..ips.len() {
                if ips.is_null(row) || v4.is_null(row) || v6.is_null(row) {
                    out.append_null();
                    continue;
                }
                let bits = (in_range(V4, v4.value(row))?, in_range(V6, v6.value(row))?);
                let Some(ip) = address(ips.value(row)) else {
                    out.append_null();
                    continue;
                };
                let bits = if ip.is_ipv4() { bits.0 } else { bits.1 };
                let network = Network::of(ip, bits);
                text.clear();
                write!(text, "{}/{bits}", network.first)
                    .expect("a String takes whatever is written to it");
                out.append_value(&text);
            }
            Ok(Arc::new(out.finish()))
        })
    }
}
