//! The changes of accounts that another process may decide.

use crate::writer::forms;

forms! {
    "channel_token_use" => super::channels::Use;
    "invite_create" => super::invites::CreateInvite;
    "invite_delete" => super::invites::DeleteInvite;
    "key_keep" => super::kept_key::KeepKey;
    "me_delete" => super::account::DeleteMe;
    "me_update" => super::account::UpdateMe;
    "names_index" => super::names::IndexNames;
    "password_change" => super::account::ChangePassword;
    "password_rehash" => super::login::Rehash;
    "password_work_lower" => super::user_exchange::LowerWork;
    "reset_begin" => super::reset::BeginReset;
    "reset_try" => super::reset::TryCode;
    "session_end" => super::sessions::EndSession;
    "session_renew" => super::sessions::Renew;
    "sign_in" => super::second_factor::LetIn;
    "sign_ins_end" => super::sessions::EndSignIns;
    "sign_up" => super::sign_up::SignUp;
    "two_factor_begin" => super::two_factor::Begin;
    "two_factor_confirm" => super::two_factor::Confirm;
    "two_factor_end" => super::two_factor::End;
    "user_create" => super::users::CreateUser;
    "user_delete" => super::deletion::DeleteUser;
    "user_revoke" => super::users::SetRevoked;
    "user_update" => super::users::UpdateUser;
}
