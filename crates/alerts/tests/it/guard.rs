//! What the guard lets through, and why not.

use std::collections::BTreeSet;

use keyhawk_alerts::{
    Action, BUDGET_RULE, CommandMode, CommandTopic, Decision, Guard, GuardConfig, Mode, Proposal,
    Severity, ShadowReason, TimeMs,
};

use crate::fixtures::{NOON, proposal};
use crate::schema::{hold_alert, hold_command};

const MINUTE: i64 = 60_000;
const FINGERPRINT: &str = "kh_live_…0123456789abcdef0123";

fn auto() -> GuardConfig {
    GuardConfig {
        mode: Mode::Auto,
        auto_rules: BTreeSet::from(["rate_spike".to_owned()]),
        budget_per_hour: 3,
        ..GuardConfig::default()
    }
}

fn decide(guard: &mut Guard, proposal: Proposal, now_ms: i64) -> Decision {
    let decision = guard.decide(proposal, now_ms);
    hold_command(&decision.command);
    decision.alert.as_deref().inspect(|alert| hold_alert(alert));
    decision
}

fn one(config: GuardConfig, proposal: Proposal, now_ms: i64) -> Decision {
    decide(&mut Guard::new("prod".to_owned(), config), proposal, now_ms)
}

/// A fresh proposal of its own alert at `now_ms`.
fn fresh(n: i64, now_ms: i64) -> Proposal {
    let key = format!("k{n}");
    Proposal {
        last_seen: TimeMs(now_ms),
        ..proposal(&key)
    }
}

#[test]
fn by_default_nothing_is_executed() {
    let decision = one(GuardConfig::default(), proposal("k"), NOON);
    assert_eq!(decision.shadow, Some(ShadowReason::Mode));
    assert_eq!(decision.topic(), CommandTopic::CommandsShadow);
    let decision = one(
        GuardConfig {
            mode: Mode::Auto,
            ..GuardConfig::default()
        },
        proposal("k"),
        NOON,
    );
    assert_eq!(
        decision.shadow,
        Some(ShadowReason::Rule),
        "auto alone allows no rule"
    );
}

#[test]
fn what_is_allowed_in_so_many_words_is_executed() {
    let decision = one(auto(), proposal("k"), NOON + 1000);
    assert_eq!(
        (decision.shadow, decision.topic()),
        (None, CommandTopic::Commands)
    );
    let command = decision.command;
    assert_eq!(command.mode, CommandMode::Auto);
    assert_eq!(command.issued_at, TimeMs(NOON + 1000));
    assert_eq!(command.not_after, TimeMs(NOON + 1000 + 5 * MINUTE));
    assert_eq!(command.lift_at, Some(TimeMs(NOON + 1000 + 60 * MINUTE)));
    assert_eq!(
        command.reason,
        "k made 4,200 requests in ten minutes; 80.2 expected"
    );
    let all = GuardConfig {
        auto_rules: BTreeSet::from(["*".to_owned()]),
        ..auto()
    };
    assert_eq!(one(all, proposal("k"), NOON).shadow, None);
}

#[test]
fn an_action_that_does_not_end_by_itself_must_be_named() {
    let revoke = Proposal {
        action: Action::Revoke,
        lift_after_ms: None,
        ..proposal("k")
    };
    let decision = one(auto(), revoke.clone(), NOON);
    assert_eq!(decision.shadow, Some(ShadowReason::Action));
    assert!(
        decision
            .command
            .reason
            .ends_with("[shadow: action revoke is not among those allowed]")
    );
    let named = GuardConfig {
        auto_actions: BTreeSet::from([Action::Revoke]),
        ..auto()
    };
    let decision = one(named, revoke, NOON);
    assert_eq!((decision.shadow, decision.command.lift_at), (None, None));
}

#[test]
fn only_a_name_that_the_gateway_knows_is_acted_on() {
    let by = |key: &str, key_id: Option<&str>| {
        let mut proposal = proposal(key);
        proposal.entity.key_id = key_id.map(str::to_owned);
        proposal
    };
    let knows = GuardConfig {
        gateway_knows_fingerprints: true,
        ..auto()
    };
    for (config, proposal, shadow) in [
        (auto(), by(FINGERPRINT, None), Some(ShadowReason::Identity)),
        (auto(), by(FINGERPRINT, Some("17")), None),
        (knows.clone(), by(FINGERPRINT, None), None),
        (knows.clone(), by("…0123456789abcdef0123", None), None),
        (
            knows.clone(),
            by("198.51.100.0/24", None),
            Some(ShadowReason::Identity),
        ),
        (
            knows,
            by("…0123456789abcdef012", None),
            Some(ShadowReason::Identity),
        ),
    ] {
        assert_eq!(one(config, proposal, NOON).shadow, shadow);
    }
}

#[test]
fn old_evidence_stays_shadow() {
    assert_eq!(one(auto(), proposal("k"), NOON + 15 * MINUTE).shadow, None);
    let decision = one(auto(), proposal("k"), NOON + 15 * MINUTE + 1);
    assert_eq!(decision.shadow, Some(ShadowReason::Evidence));
    assert!(
        decision
            .command
            .reason
            .ends_with("[shadow: the evidence is 15 minutes old]")
    );
}

#[test]
fn a_spent_budget_turns_commands_to_shadow_and_says_so_once_an_hour() {
    let mut guard = Guard::new("prod".to_owned(), auto());
    let mut at = |n: i64, minute: i64| {
        let now_ms = NOON + minute * MINUTE;
        let decision = decide(&mut guard, fresh(n, now_ms), now_ms);
        (decision.shadow, decision.alert)
    };
    let budget = Some(ShadowReason::Budget);
    for n in 0..3 {
        assert_eq!(at(n, n * 10), (None, None));
    }
    let (shadow, alert) = at(3, 30);
    assert_eq!(shadow, budget);
    let alert = alert.unwrap();
    assert_eq!(
        (alert.rule.as_str(), alert.severity),
        (BUDGET_RULE, Severity::High)
    );
    assert_eq!(
        alert.summary,
        "the guard has executed its 3 commands of this hour; further ones are shadow"
    );
    assert_eq!(alert.emitted_at, Some(TimeMs(NOON + 30 * MINUTE)));
    assert_eq!(at(4, 59), (budget, None), "one alert an hour");
    // The hour slides: the command of minute 0 leaves it at minute 60, that of minute 10 at 70.
    assert_eq!(at(5, 60), (None, None));
    assert_eq!(at(6, 61), (budget, None));
    let (shadow, second) = {
        assert_eq!(at(7, 70), (None, None));
        assert_eq!(at(8, 80), (None, None));
        at(9, 91)
    };
    assert_eq!(shadow, budget);
    assert_ne!(second.unwrap().id, alert.id);
}

#[test]
fn in_no_sixty_minutes_more_than_the_budget_is_executed() {
    let mut guard = Guard::new("prod".to_owned(), auto());
    let mut dice = crate::fixtures::Dice(7);
    let (mut now_ms, mut executed) = (NOON, Vec::new());
    for n in 0..500 {
        now_ms += dice.below(15 * MINUTE as u64) as i64;
        if decide(&mut guard, fresh(n, now_ms), now_ms)
            .shadow
            .is_none()
        {
            executed.push(now_ms);
        }
    }
    assert!(executed.len() > 100);
    assert!(
        executed
            .windows(4)
            .all(|four| four[3] - four[0] >= 60 * MINUTE)
    );
}

#[test]
fn a_proposal_delivered_twice_is_one_command_and_one_charge() {
    let mut guard = Guard::new("prod".to_owned(), auto());
    for _ in 0..10 {
        assert_eq!(decide(&mut guard, fresh(0, NOON), NOON).shadow, None);
    }
    assert_eq!(decide(&mut guard, fresh(1, NOON), NOON).shadow, None);
    assert_eq!(decide(&mut guard, fresh(2, NOON), NOON).shadow, None);
    assert_eq!(
        decide(&mut guard, fresh(3, NOON), NOON).shadow,
        Some(ShadowReason::Budget)
    );
    assert_eq!(decide(&mut guard, fresh(0, NOON), NOON).shadow, None);
}

#[test]
fn shadows_cost_nothing_of_the_budget() {
    let mut guard = Guard::new("prod".to_owned(), auto());
    for n in 0..50 {
        let stale = fresh(n, NOON - 60 * MINUTE);
        assert_eq!(
            decide(&mut guard, stale, NOON).shadow,
            Some(ShadowReason::Evidence)
        );
    }
    assert_eq!(decide(&mut guard, fresh(99, NOON), NOON).shadow, None);
}

#[test]
fn a_clock_that_goes_back_gives_no_budget_and_no_youth() {
    let mut guard = Guard::new(
        "prod".to_owned(),
        GuardConfig {
            budget_per_hour: 1,
            ..auto()
        },
    );
    assert_eq!(decide(&mut guard, fresh(0, NOON), NOON).shadow, None);
    let earlier = NOON - 120 * MINUTE;
    let stale = decide(&mut guard, fresh(1, earlier), earlier);
    assert_eq!(stale.shadow, Some(ShadowReason::Evidence));
    assert_eq!(stale.command.issued_at, TimeMs(NOON));
    assert_eq!(
        decide(&mut guard, fresh(2, NOON), earlier).shadow,
        Some(ShadowReason::Budget)
    );
}

#[test]
fn a_budget_of_nothing_executes_nothing() {
    let decision = one(
        GuardConfig {
            budget_per_hour: 0,
            ..auto()
        },
        proposal("k"),
        NOON,
    );
    assert_eq!(decision.shadow, Some(ShadowReason::Budget));
    assert!(decision.alert.is_some());
}

#[test]
fn modes_are_their_words() {
    assert_eq!("auto".parse(), Ok(Mode::Auto));
    assert_eq!("shadow".parse(), Ok(Mode::Shadow));
    assert!(
        "on".parse::<Mode>()
            .unwrap_err()
            .to_string()
            .contains("`shadow` or `auto`")
    );
}
