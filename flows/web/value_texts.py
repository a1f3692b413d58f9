"""Texts of the value page."""

from typing import Final

EN: Final = {
    "value_title": "What it is worth under other assumptions",
    "value_link": "Try other assumptions",
    "value_back": "Back to the releases",
    "no_value": "There are no figures to compute with.",
    "value_lead": "Measured results of {version} with the assumptions of the committed criteria, and with yours. "
    "Nothing is stored, and the committed criteria stay as they are.",
    "value_wrong": "One of your assumptions cannot be used; the figures are those of the committed ones.",
    "value_verdict": "Verdict",
    "value_says": "By the committed criteria: {verdict}.",
    "value_would_say": "The same limits with your assumptions: {verdict}. Only the committed criteria decide.",
    "value_figures": "A month at target precision {target}",
    "value_figure": "Figure",
    "value_committed": "committed",
    "value_changed": "yours",
    "value_interval": "In brackets: the least and the most that the 95 % intervals of the measured figures allow.",
    "value_points": "Net saving a month by target precision",
    "value_target": "Target precision",
    "value_assumptions": "Your assumptions",
    "value_was": "committed: {value}",
    "value_compute": "Compute",
    "value_reset": "Back to the committed ones",
}

JA: Final = {
    "value_title": "別の前提での試算",
    "value_link": "別の前提で試算する",
    "value_back": "リリースに戻る",
    "no_value": "試算に必要な数値がありません。",
    "value_lead": "{version} の測定結果に、コミット済みの前提と変更した前提をそれぞれ当てはめた試算です。"
    "何も保存されず、コミット済みの基準も変わりません。",
    "value_wrong": "使えない値があります。数値はコミット済みの前提によるものです。",
    "value_verdict": "判定",
    "value_says": "コミット済みの基準による判定：{verdict}。",
    "value_would_say": "変更した前提での判定（基準値は同じ）：{verdict}。正式な判定はコミット済みの基準によります。",
    "value_figures": "1 か月の数値（目標適合率 {target}）",
    "value_figure": "項目",
    "value_committed": "コミット済み",
    "value_changed": "変更後",
    "value_interval": "括弧内は、測定値の 95% 信頼区間から生じる最小値と最大値です。",
    "value_points": "目標適合率ごとの月間の実質削減額",
    "value_target": "目標適合率",
    "value_assumptions": "前提の変更",
    "value_was": "コミット済み：{value}",
    "value_compute": "試算する",
    "value_reset": "コミット済みの前提に戻す",
}
