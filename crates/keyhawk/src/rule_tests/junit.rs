//! A report as JUnit XML, which CI systems read: a test suite a rule, a test case a case.
//!
//! ```text
//!   <testsuites name="keyhawk test" tests="40" failures="1" …>
//!     <testsuite name="auth_failures" tests="8" …>
//!       <testcase name="fifty wrong signatures …" classname="auth_failures" file="sql/rules/…" line="4">
//!         <failure message="expected (-) and found by both engines (+):">the diff</failure>
//! ```

use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::Report;

/// The report as an XML document.
///
/// # Errors
/// The XML cannot be written.
pub fn junit(report: &Report) -> Result<String, SerializeError> {
    let mut document = quick_junit::Report::new("keyhawk test");
    document.set_time(report.elapsed);
    for suite in &report.suites {
        let mut element = TestSuite::new(&suite.rule);
        element.set_time(suite.cases.iter().map(|case| case.elapsed).sum());
        for case in &suite.cases {
            let status = match &case.failure {
                None => TestCaseStatus::success(),
                Some(failure) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    let message = failure.lines.first().map(|line| line.text.as_str());
                    status.set_message(message.unwrap_or_default());
                    status.set_description(failure.to_string());
                    status
                }
            };
            let mut test = TestCase::new(&case.name, status);
            test.set_classname(&suite.rule);
            test.set_time(case.elapsed);
            let file = suite.path.display().to_string();
            test.extra.insert("file".into(), file.into());
            test.extra
                .insert("line".into(), case.line.to_string().into());
            element.add_test_case(test);
        }
        document.add_test_suite(element);
    }
    document.to_string()
}
